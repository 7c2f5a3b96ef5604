"""A test's database whose clock we move: what the service asks for as now() is the time that we say, not the server's.

The service's queries name no schema before now(), so that ours is found first. What a table fills in by itself follows
the same clock, and so does the end of a token, which the machine's clock has counted.
"""

from datetime import datetime

import psycopg
from psycopg import sql

_MAKE = """
create schema moved;
create table moved.clock (at timestamptz not null);
create function moved.now() returns timestamptz language sql stable as 'select at from moved.clock';
create function moved.carry_token_end() returns trigger language plpgsql as $body$
begin
  new.token_expires_at := new.token_expires_at - (clock_timestamp() - moved.now());
  return new;
end
$body$;
create trigger carry_token_end before insert or update of token_expires_at on public.cgm_connections
  for each row execute function moved.carry_token_end();
grant usage on schema moved to public;
grant select on moved.clock to public;
"""
_FILLED_IN = """
select n.nspname, r.relname, a.attname
from pg_attrdef d
join pg_attribute a on (a.attrelid, a.attnum) = (d.adrelid, d.adnum)
join pg_class r on r.oid = d.adrelid
join pg_namespace n on n.oid = r.relnamespace
where n.nspname = 'cgm_private'
  and pg_get_expr(d.adbin, d.adrelid) = 'now()'
"""


def install(admin_dsn: str, at: datetime) -> None:
    """From the next connection on, this database's clock stands at ``at`` (aware)."""
    with psycopg.connect(admin_dsn, autocommit=True) as admin:
        admin.execute(_MAKE.encode())
        for schema, table, column in admin.execute(_FILLED_IN.encode()).fetchall():
            where = sql.Identifier(schema, table), sql.Identifier(column)
            admin.execute(sql.SQL("alter table {} alter column {} set default moved.now()").format(*where))
        admin.execute("insert into moved.clock values (%s)", [at])
        name = sql.Identifier(admin.info.dbname)
        admin.execute(sql.SQL("alter database {} set search_path = moved, pg_catalog, public").format(name))


def move(admin_dsn: str, at: datetime) -> None:
    """Let it stand at ``at`` (aware)."""
    with psycopg.connect(admin_dsn, autocommit=True) as admin:
        admin.execute("update moved.clock set at = %s", [at])
