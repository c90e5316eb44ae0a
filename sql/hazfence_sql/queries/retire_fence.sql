UPDATE hazfence.fence SET retired_at = now() WHERE id = %(id)s AND retired_at IS NULL
