"""Refuses to work with more rights than the service needs: no superuser, no owner, no way around row security."""

import psycopg

from evercgm.core.errors import SettingsError

_RIGHTS = """
select r.rolname as role, r.rolsuper as superuser, r.rolbypassrls as bypass,
       exists (
         select from pg_class c
         join pg_namespace n on n.oid = c.relnamespace
         where n.nspname in ('public', 'cgm_private') and c.relkind in ('r', 'p')
           and pg_has_role(r.oid, c.relowner, 'usage')
       ) as owner,
       exists (select from pg_namespace where nspname = 'cgm_private') as migrated
from pg_roles r
where r.rolname = current_user
"""


async def refuse_too_much(dsn: str) -> None:
    """Raises SettingsError where the role of DATABASE_URL is wrong, or the database cannot be used."""
    try:
        async with await psycopg.AsyncConnection.connect(dsn, connect_timeout=10) as conn:
            row = await (await conn.execute(_RIGHTS)).fetchone()
    except psycopg.Error as failure:
        raise SettingsError(f"DATABASE_URL: the database does not answer ({type(failure).__name__})") from None
    if row is None:
        raise SettingsError("DATABASE_URL: its role is not known to the database")
    role, superuser, bypass, owner, migrated = row
    if superuser or bypass or owner:
        what = "is a superuser" if superuser else "bypasses row-level security" if bypass else "owns tables of ours"
        raise SettingsError(f"DATABASE_URL: role {role} {what}; use one made by `evercgm db login-role`")
    if not migrated:
        raise SettingsError("DATABASE_URL: this database is not migrated; run `evercgm db migrate` first")
