SELECT version_num FROM hazfence.schema_version
