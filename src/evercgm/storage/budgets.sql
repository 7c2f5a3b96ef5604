-- name: lock_books
-- One process at a time counts the calls of a place.
select pg_advisory_xact_lock(hashtextextended('evercgm calls ' || %(provider)s || '/' || %(region)s, 0))

-- name: read_books
-- Calls of the last hour and the pause, by the database's clock; always one row.
select clock.now, coalesce(b.used, 0)::bigint as used, b.oldest, p.until, p.strikes, p.probe_until, p.over
from (select clock_timestamp() as now) clock
left join lateral (
  select sum(v.calls) as used, min(v.window_start) filter (where v.calls > 0) as oldest
  from cgm_private.vendor_budgets v
  where v.provider = %(provider)s
    and v.region = %(region)s
    and v.window_start > clock.now - %(counted_for)s::interval
) b on true
left join cgm_private.provider_pauses p on p.provider = %(provider)s and p.region = %(region)s

-- name: take_calls
-- In the minute of the database's clock.
insert into cgm_private.vendor_budgets (provider, region, window_start, calls)
values (%(provider)s, %(region)s, date_trunc('minute', %(now)s::timestamptz), %(calls)s)
on conflict (provider, region, window_start) do update
set calls = vendor_budgets.calls + excluded.calls
returning window_start

-- name: hand_back
-- Calls that were taken and not made.
update cgm_private.vendor_budgets
set calls = greatest(calls - %(calls)s, 0)
where provider = %(provider)s
  and region = %(region)s
  and window_start = %(minute)s

-- name: forget_old_calls
delete from cgm_private.vendor_budgets
where provider = %(provider)s
  and region = %(region)s
  and window_start < %(now)s::timestamptz - 2 * %(counted_for)s::interval

-- name: begin_probe
-- The one call that may end a pause.
update cgm_private.provider_pauses
set probe_until = %(probe_until)s
where provider = %(provider)s
  and region = %(region)s

-- name: pause
insert into cgm_private.provider_pauses (provider, region, until, reason, strikes, probe_until, over)
values (%(provider)s, %(region)s, %(until)s, 'rate_limited', %(strikes)s, null, false)
on conflict (provider, region) do update
set until = excluded.until,
    reason = excluded.reason,
    strikes = excluded.strikes,
    probe_until = null,
    over = false

-- name: pause_for
-- The call that met it may have begun the pause already; one that lasts is only named.
insert into cgm_private.provider_pauses (provider, region, until, reason)
values (%(provider)s, %(region)s, clock_timestamp() + %(lasts)s::interval, %(reason)s)
on conflict (provider, region) do update
set until = case when provider_pauses.over or provider_pauses.until < clock_timestamp() then excluded.until
                 else provider_pauses.until end,
    reason = excluded.reason,
    probe_until = null,
    over = false

-- name: end_pause
-- Only the pause that the probe was made for: a longer one may have begun since.
update cgm_private.provider_pauses
set over = true, probe_until = null
where provider = %(provider)s
  and region = %(region)s
  and until = %(until)s
  and not over
returning until

-- name: paused_for
-- Seconds until the end of a pause; no row: there is none.
select extract(epoch from p.until - clock_timestamp())::float8 as seconds
from cgm_private.provider_pauses p
where p.provider = %(provider)s
  and p.region = %(region)s
  and not p.over
  and p.until > clock_timestamp()
