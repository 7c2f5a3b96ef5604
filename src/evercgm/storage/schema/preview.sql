-- name: spellings
-- what the conversion would make of each spelling of provider. preview.py puts two parts in: the aliases that the database
-- has already, and the migration's own choice of what is kept, which asks "aliases".
with own_aliases as (
  {own}
),
file_aliases as (
  select f.alias, f.provider
    from unnest(%s::text[], %s::text[]) as f (alias, provider)
),
aliases as (
  select o.alias, o.provider from own_aliases o
  union all
  select f.alias, f.provider from file_aliases f where not exists (select from own_aliases o where o.alias = f.alias)
),
conversion as (
  {conversion}
),
linked as (
  select r.cgm_connection_id as id, count(*) as readings
    from public.glucose_readings r
   where r.cgm_connection_id is not null
   group by r.cgm_connection_id
)
select t.original,
       t.provider,
       count(*) as connections,
       count(*) filter (where t.kept_id <> t.id and t.provider is not null) as second,
       coalesce(sum(l.readings) filter (where t.kept_id <> t.id or t.provider is null), 0) as readings
  from conversion t
  left join linked l on l.id = t.id
 group by t.original, t.provider
 order by t.provider nulls last, t.original collate "C";

-- name: aside
-- how many connections are in quarantine
select count(*) as connections
  from cgm_private.quarantined_connections;
