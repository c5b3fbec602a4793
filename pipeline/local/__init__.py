"""Postgres, Valkey and a whole pipeline on this machine, started and stopped as one."""
