set local lock_timeout = '5s';

-- The service's own memory. Every table: row-level security on, policies and grants in the next file, an index for each
-- foreign key. Columns named sealed_* or *_token hold sealed text only; an absent one is ''.

-- A sign-in at a vendor that is under way.
create table if not exists cgm_private.oauth_attempts (
  id               text        not null primary key,
  state_hash       bytea       unique,
  person_id        text        not null references public."Person" (id) on delete cascade on update cascade,
  owner_id         text        not null,
  provider         text        not null,
  region           text        not null,
  pkce_verifier    text        not null default '',
  return_to        text,
  handover_hash    bytea       unique,
  handover_used_at timestamptz,
  binding_hash     bytea,
  sealed_access    text        not null default '',
  sealed_refresh   text        not null default '',
  token_expires_at timestamptz,
  token_lifetime_s integer     not null default 3600,
  vendor_account   text,
  expires_at       timestamptz not null,
  created_at       timestamptz not null default now()
);
create index if not exists oauth_attempts_person_id_idx on cgm_private.oauth_attempts (person_id);
create index if not exists oauth_attempts_expires_at_idx on cgm_private.oauth_attempts (expires_at);

-- What syncing remembers of a connection. A connection without this row belongs to the host app.
create table if not exists cgm_private.sync_state (
  connection_id          text        not null primary key
                                     references public.cgm_connections (id) on delete cascade on update cascade,
  person_id              text        not null references public."Person" (id) on delete cascade on update cascade,
  region                 text,
  vendor_account_id      text,
  next_sync_at           timestamptz,
  failures_since         timestamptz,
  failure_count          integer     not null default 0,
  reason                 text,
  windows_done           jsonb       not null default '[]',
  history_start          timestamptz,
  history_done_at        timestamptz,
  last_daily_scan_at     timestamptz,
  last_weekly_scan_at    timestamptz,
  refresh_until          timestamptz,
  generation             bigint      not null default 0,
  token_lifetime_s       integer     not null default 3600,
  previous_refresh_token text        not null default '',
  connected_at           timestamptz,
  adopted_at             timestamptz,
  created_at             timestamptz not null default now(),
  updated_at             timestamptz not null default now()
);
create index if not exists sync_state_next_sync_at_idx on cgm_private.sync_state (next_sync_at);
create index if not exists sync_state_person_id_idx on cgm_private.sync_state (person_id);

-- Other ways in of the same connection.
create table if not exists cgm_private.routes (
  id            text        not null primary key,
  connection_id text        not null references public.cgm_connections (id) on delete cascade on update cascade,
  person_id     text        not null references public."Person" (id) on delete cascade on update cascade,
  route         text        not null,
  secret        text        not null default '',
  session       text        not null default '',
  cursor        text,
  created_at    timestamptz not null default now(),
  updated_at    timestamptz not null default now(),
  constraint routes_connection_id_route_key unique (connection_id, route)
);
create index if not exists routes_person_id_idx on cgm_private.routes (person_id);

-- The history of syncs that people see.
create table if not exists cgm_private.sync_runs (
  id            text        not null primary key,
  connection_id text        not null references public.cgm_connections (id) on delete cascade on update cascade,
  person_id     text        not null references public."Person" (id) on delete cascade on update cascade,
  job_id        bigint,
  trigger       text        not null check (trigger in ('person', 'schedule', 'connect', 'command')),
  state         text        not null default 'queued' check (state in ('queued', 'running', 'done')),
  outcome       text        check (outcome in ('succeeded', 'nothing_new', 'failed', 'cancelled')),
  reason        text,
  window_from   timestamptz,
  window_to     timestamptz,
  starts        integer     not null default 0,
  fetched       integer     not null default 0,
  inserted      integer     not null default 0,
  updated       integer     not null default 0,
  rejected      integer     not null default 0,
  requested_at  timestamptz not null default now(),
  started_at    timestamptz,
  finished_at   timestamptz,
  constraint sync_runs_outcome_when_done check ((state = 'done') = (outcome is not null))
);
create unique index if not exists sync_runs_one_open_idx
  on cgm_private.sync_runs (connection_id)
  where state <> 'done';
create index if not exists sync_runs_connection_id_requested_at_idx
  on cgm_private.sync_runs (connection_id, requested_at desc);
create index if not exists sync_runs_person_id_requested_at_idx
  on cgm_private.sync_runs (person_id, requested_at desc);
create index if not exists sync_runs_job_id_idx on cgm_private.sync_runs (job_id) where job_id is not null;

-- What the host's table of readings has no column for. One reading may be known by several record keys.
create table if not exists cgm_private.reading_details (
  reading_id         text             not null
                                      references public.glucose_readings (id) on delete cascade on update cascade,
  person_id          text             not null references public."Person" (id) on delete cascade on update cascade,
  stream             text             not null,
  record_key         text             not null,
  trend              text,
  trend_rate         double precision,
  display_offset_min integer,
  flag               text             check (flag in ('low', 'high')),
  transmitter_hash   bytea,
  transmitter_ticks  bigint,
  received_at        timestamptz      not null default now(),
  absent_since       timestamptz,
  constraint reading_details_pkey primary key (person_id, stream, record_key)
);
create index if not exists reading_details_reading_id_idx on cgm_private.reading_details (reading_id);
create index if not exists reading_details_transmitter_idx
  on cgm_private.reading_details (person_id, transmitter_hash, transmitter_ticks)
  where transmitter_hash is not null;

-- Records that could not be read.
create table if not exists cgm_private.rejected_records (
  id            bigint      generated always as identity primary key,
  connection_id text        not null references public.cgm_connections (id) on delete cascade on update cascade,
  person_id     text        not null references public."Person" (id) on delete cascade on update cascade,
  stream        text        not null,
  record_key    text        not null,
  reason        text        not null,
  measured_text text,
  times_seen    integer     not null default 1,
  received_at   timestamptz not null default now()
);
create index if not exists rejected_records_connection_id_idx on cgm_private.rejected_records (connection_id);
create index if not exists rejected_records_person_id_idx on cgm_private.rejected_records (person_id);
create index if not exists rejected_records_received_at_idx on cgm_private.rejected_records (received_at);

create table if not exists cgm_private.person_settings (
  person_id   text    not null primary key references public."Person" (id) on delete cascade on update cascade,
  label       text    not null default '',
  time_zone   text    not null default 'UTC',
  unit        text    not null default 'mg/dL' check (unit in ('mg/dL', 'mmol/L')),
  target_low  integer not null default 70,
  target_high integer not null default 180,
  constraint person_settings_targets check (0 < target_low and target_low < target_high)
);

-- Who did what. No references: the record outlives what it speaks of.
create table if not exists cgm_private.audit_events (
  id         bigint      generated always as identity primary key,
  at         timestamptz not null default now(),
  actor      text        not null,
  person_id  text,
  action     text        not null,
  request_id text,
  detail     jsonb       not null default '{}'
);
create index if not exists audit_events_person_id_at_idx on cgm_private.audit_events (person_id, at desc);

create table if not exists cgm_private.erased_persons (
  person_id text        not null primary key,
  erased_at timestamptz not null default now()
);

-- Standalone identity: hashes only, and the private key sealed.
create table if not exists cgm_private.sessions (
  token_hash   bytea       not null primary key,
  owner_id     text        not null,
  created_at   timestamptz not null default now(),
  expires_at   timestamptz not null,
  last_seen_at timestamptz not null default now()
);
create index if not exists sessions_expires_at_idx on cgm_private.sessions (expires_at);

create table if not exists cgm_private.sign_in_links (
  token_hash bytea       not null primary key,
  owner_id   text        not null,
  expires_at timestamptz not null,
  used_at    timestamptz
);

create table if not exists cgm_private.signing_keys (
  kid            text        not null primary key,
  public_jwk     jsonb       not null,
  sealed_private text        not null,
  created_at     timestamptz not null default now(),
  retired_at     timestamptz
);

-- App-wide limits at a vendor.
create table if not exists cgm_private.vendor_budgets (
  provider     text        not null,
  region       text        not null,
  window_start timestamptz not null,
  calls        integer     not null default 0,
  constraint vendor_budgets_pkey primary key (provider, region, window_start)
);

create table if not exists cgm_private.provider_pauses (
  provider text        not null,
  region   text        not null,
  until    timestamptz not null,
  reason   text        not null,
  constraint provider_pauses_pkey primary key (provider, region)
);

do $$
declare
  t regclass;
begin
  for t in
    select c.oid::regclass
      from pg_catalog.pg_class c
     where c.relnamespace = 'cgm_private'::regnamespace and c.relkind in ('r', 'p') and not c.relrowsecurity
  loop
    execute format('alter table %s enable row level security', t);
  end loop;
end
$$;
