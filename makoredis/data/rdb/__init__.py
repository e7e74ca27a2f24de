"""Redis's own binary formats: the payload of DUMP and RESTORE, and whole RDB files. Pure: bytes in, values out."""
