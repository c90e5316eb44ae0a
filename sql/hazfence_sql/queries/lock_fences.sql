-- Nobody else saves fences until the transaction ends.
LOCK TABLE hazfence.fence IN SHARE ROW EXCLUSIVE MODE
