set local lock_timeout = '5s';
set local standard_conforming_strings = on;
set local quote_all_identifiers = off;

-- The service's own memory. Every table: row-level security on, policies and grants in the next file, an index for each
-- foreign key. Columns named sealed_* or *_token hold sealed text only; an absent one is ''.

-- Tables that are there already must have the form that this file gives them.
do $$
declare
  path text := current_setting('search_path');
  wrong text;
begin
  if to_regprocedure('cgm_private.other_form(text, text, boolean)') is null then
    raise exception 'schema cgm_private is not prepared: 20261124000001_cgm_match_production.sql comes first'
      using errcode = 'undefined_function';
  end if;

  perform set_config('search_path', '', true);
  select string_agg(cgm_private.other_form(w.name, w.expected), '; ' order by w.name)
    into wrong
    from (values
      -- expected
      ('cgm_private.audit_events',
       'action text not null; actor text not null; at timestamp with time zone not null default now(); detail jsonb
        not null default ''{}''::jsonb; id bigint not null identity; person_id text; request_id text;
        audit_events_pkey PRIMARY KEY (id); CREATE INDEX audit_events_person_id_at_idx ON cgm_private.audit_events
        USING btree (person_id, at DESC)'),
      ('cgm_private.erased_persons',
       'erased_at timestamp with time zone not null default now(); person_id text not null; erased_persons_pkey
        PRIMARY KEY (person_id)'),
      ('cgm_private.oauth_attempts',
       'binding_hash bytea; created_at timestamp with time zone not null default now(); expires_at timestamp with time
        zone not null; handover_hash bytea; handover_used_at timestamp with time zone; id text not null; owner_id text
        not null; person_id text not null; pkce_verifier text not null default ''''::text; provider text not null;
        region text not null; return_to text; sealed_access text not null default ''''::text; sealed_refresh text not
        null default ''''::text; state_hash bytea; token_expires_at timestamp with time zone; token_lifetime_s integer
        not null default 3600; unfinished boolean not null default false; vendor_account text;
        oauth_attempts_person_id_fkey FOREIGN KEY (person_id) REFERENCES public."Person"(id) ON UPDATE CASCADE ON
        DELETE CASCADE; oauth_attempts_pkey PRIMARY KEY (id); CREATE INDEX oauth_attempts_expires_at_idx ON
        cgm_private.oauth_attempts USING btree (expires_at); CREATE UNIQUE INDEX oauth_attempts_handover_hash_key ON
        cgm_private.oauth_attempts USING btree (handover_hash); CREATE INDEX oauth_attempts_person_id_idx ON
        cgm_private.oauth_attempts USING btree (person_id); CREATE UNIQUE INDEX oauth_attempts_state_hash_key ON
        cgm_private.oauth_attempts USING btree (state_hash)'),
      ('cgm_private.person_settings',
       'label text not null default ''''::text; person_id text not null; target_high integer not null default 180;
        target_low integer not null default 70; time_zone text not null default ''UTC''::text; unit text not null
        default ''mg/dL''::text; person_settings_person_id_fkey FOREIGN KEY (person_id) REFERENCES public."Person"(id)
        ON UPDATE CASCADE ON DELETE CASCADE; person_settings_pkey PRIMARY KEY (person_id); person_settings_targets
        CHECK (((0 < target_low) AND (target_low < target_high))); person_settings_unit_check CHECK ((unit = ANY
        (ARRAY[''mg/dL''::text, ''mmol/L''::text])))'),
      ('cgm_private.provider_pauses',
       'over boolean not null default false; probe_until timestamp with time zone; provider text not null; reason text
        not null; region text not null; strikes integer not null default 1; until timestamp with time zone not null;
        provider_pauses_pkey PRIMARY KEY (provider, region)'),
      ('cgm_private.reading_details',
       'absent_since timestamp with time zone; display_offset_min integer; flag text; person_id text not null;
        reading_id text not null; received_at timestamp with time zone not null default now(); record_key text not
        null; stream text not null; transmitter_hash bytea; transmitter_ticks bigint; trend text; trend_rate double
        precision; reading_details_flag_check CHECK ((flag = ANY (ARRAY[''low''::text, ''high''::text])));
        reading_details_person_id_fkey FOREIGN KEY (person_id) REFERENCES public."Person"(id) ON UPDATE CASCADE ON
        DELETE CASCADE; reading_details_pkey PRIMARY KEY (person_id, stream, record_key);
        reading_details_reading_id_fkey FOREIGN KEY (reading_id) REFERENCES public.glucose_readings(id) ON UPDATE
        CASCADE ON DELETE CASCADE; CREATE INDEX reading_details_reading_id_idx ON cgm_private.reading_details USING
        btree (reading_id); CREATE INDEX reading_details_transmitter_idx ON cgm_private.reading_details USING btree
        (hashtextextended(person_id, (0)::bigint), transmitter_ticks) WHERE (transmitter_ticks IS NOT NULL)'),
      ('cgm_private.rejected_records',
       'connection_id text not null; id bigint not null identity; measured_text text; person_id text not null; reason
        text not null; received_at timestamp with time zone not null default now(); record_key text not null; stream
        text not null; times_seen integer not null default 1; rejected_records_connection_id_fkey FOREIGN KEY
        (connection_id) REFERENCES public.cgm_connections(id) ON UPDATE CASCADE ON DELETE CASCADE;
        rejected_records_person_id_fkey FOREIGN KEY (person_id) REFERENCES public."Person"(id) ON UPDATE CASCADE ON
        DELETE CASCADE; rejected_records_pkey PRIMARY KEY (id); CREATE INDEX rejected_records_connection_id_idx ON
        cgm_private.rejected_records USING btree (connection_id); CREATE INDEX rejected_records_person_id_idx ON
        cgm_private.rejected_records USING btree (person_id); CREATE INDEX rejected_records_received_at_idx ON
        cgm_private.rejected_records USING btree (received_at)'),
      ('cgm_private.routes',
       'connected_at timestamp with time zone not null default now(); connection_id text not null; created_at
        timestamp with time zone not null default now(); failure_count integer not null default 0; id text not null;
        newest_at timestamp with time zone; next_sync_at timestamp with time zone default now(); person_id text not
        null; reason text; region text not null; route text not null; secret text not null default ''''::text; session
        text not null default ''''::text; session_expires_at timestamp with time zone not null; vendor_account_id
        text; routes_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.cgm_connections(id) ON UPDATE
        CASCADE ON DELETE CASCADE; routes_person_id_fkey FOREIGN KEY (person_id) REFERENCES public."Person"(id) ON
        UPDATE CASCADE ON DELETE CASCADE; routes_pkey PRIMARY KEY (id); CREATE UNIQUE INDEX
        routes_connection_id_route_key ON cgm_private.routes USING btree (connection_id, route); CREATE INDEX
        routes_next_sync_at_idx ON cgm_private.routes USING btree (next_sync_at); CREATE INDEX routes_person_id_idx ON
        cgm_private.routes USING btree (person_id)'),
      ('cgm_private.sessions',
       'created_at timestamp with time zone not null default now(); expires_at timestamp with time zone not null;
        last_seen_at timestamp with time zone not null default now(); owner_id text not null; token_hash bytea not
        null; sessions_pkey PRIMARY KEY (token_hash); CREATE INDEX sessions_expires_at_idx ON cgm_private.sessions
        USING btree (expires_at)'),
      ('cgm_private.sign_in_links',
       'expires_at timestamp with time zone not null; owner_id text not null; token_hash bytea not null; used_at
        timestamp with time zone; sign_in_links_pkey PRIMARY KEY (token_hash); CREATE INDEX
        sign_in_links_expires_at_idx ON cgm_private.sign_in_links USING btree (expires_at)'),
      ('cgm_private.signing_keys',
       'created_at timestamp with time zone not null default now(); kid text not null; public_jwk jsonb not null;
        retired_at timestamp with time zone; sealed_private text not null; signing_keys_pkey PRIMARY KEY (kid)'),
      ('cgm_private.sync_runs',
       'connection_id text not null; due_at timestamp with time zone; fetched integer not null default 0; finished_at
        timestamp with time zone; id text not null; inserted integer not null default 0; job_id bigint; outcome text;
        person_id text not null; reason text; rejected integer not null default 0; requested_at timestamp with time
        zone not null default now(); started_at timestamp with time zone; starts integer not null default 0; state
        text not null default ''queued''::text; trigger text not null; updated integer not null default 0; window_from
        timestamp with time zone; window_to timestamp with time zone; sync_runs_connection_id_fkey FOREIGN KEY
        (connection_id) REFERENCES public.cgm_connections(id) ON UPDATE CASCADE ON DELETE CASCADE;
        sync_runs_outcome_check CHECK ((outcome = ANY (ARRAY[''succeeded''::text, ''nothing_new''::text,
        ''failed''::text, ''cancelled''::text]))); sync_runs_outcome_when_done CHECK (((state = ''done''::text) =
        (outcome IS NOT NULL))); sync_runs_person_id_fkey FOREIGN KEY (person_id) REFERENCES public."Person"(id) ON
        UPDATE CASCADE ON DELETE CASCADE; sync_runs_pkey PRIMARY KEY (id); sync_runs_state_check CHECK ((state = ANY
        (ARRAY[''queued''::text, ''running''::text, ''done''::text]))); sync_runs_trigger_check CHECK ((trigger = ANY
        (ARRAY[''person''::text, ''schedule''::text, ''connect''::text, ''command''::text, ''import''::text])));
        CREATE INDEX sync_runs_connection_id_requested_at_idx ON cgm_private.sync_runs USING btree (connection_id,
        requested_at DESC); CREATE INDEX sync_runs_job_id_idx ON cgm_private.sync_runs USING btree (job_id) WHERE
        (job_id IS NOT NULL); CREATE UNIQUE INDEX sync_runs_one_open_idx ON cgm_private.sync_runs USING btree
        (connection_id) WHERE (state <> ''done''::text); CREATE INDEX sync_runs_person_id_requested_at_idx ON
        cgm_private.sync_runs USING btree (person_id, requested_at DESC)'),
      ('cgm_private.sync_state',
       'adopted_at timestamp with time zone; connected_at timestamp with time zone; connection_id text not null;
        created_at timestamp with time zone not null default now(); failure_count integer not null default 0;
        failures_since timestamp with time zone; generation bigint not null default 0; history_done_at timestamp with
        time zone; history_start timestamp with time zone; keep_alive_at timestamp with time zone; next_sync_at
        timestamp with time zone; person_id text not null; previous_refresh_token text not null default ''''::text;
        provider text not null; quiet_count integer not null default 0; reason text; refresh_until timestamp with time
        zone; region text not null; scans jsonb not null default ''{}''::jsonb; token_lifetime_s integer not null
        default 3600; updated_at timestamp with time zone not null default now(); vendor_account_id text;
        sync_state_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.cgm_connections(id) ON UPDATE
        CASCADE ON DELETE CASCADE; sync_state_person_id_fkey FOREIGN KEY (person_id) REFERENCES public."Person"(id) ON
        UPDATE CASCADE ON DELETE CASCADE; sync_state_pkey PRIMARY KEY (connection_id); CREATE INDEX
        sync_state_keep_alive_at_idx ON cgm_private.sync_state USING btree (keep_alive_at) WHERE (keep_alive_at IS NOT
        NULL); CREATE INDEX sync_state_next_sync_at_idx ON cgm_private.sync_state USING btree (provider, region,
        next_sync_at) WHERE (next_sync_at IS NOT NULL); CREATE INDEX sync_state_person_id_idx ON
        cgm_private.sync_state USING btree (person_id); CREATE INDEX sync_state_reason_idx ON cgm_private.sync_state
        USING btree (reason, region) WHERE (reason IS NOT NULL)'),
      ('cgm_private.vendor_budgets',
       'calls integer not null default 0; provider text not null; region text not null; window_start timestamp with
        time zone not null; vendor_budgets_pkey PRIMARY KEY (provider, region, window_start)')
      -- end of expected
    ) as w (name, expected);
  perform set_config('search_path', path, true);
  if wrong is not null then
    raise exception 'objects of these names have another form, and nothing was changed: %', wrong;
  end if;
end
$$;

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
  unfinished       boolean     not null default false,
  expires_at       timestamptz not null,
  created_at       timestamptz not null default now()
);
create index if not exists oauth_attempts_person_id_idx on cgm_private.oauth_attempts (person_id);
create index if not exists oauth_attempts_expires_at_idx on cgm_private.oauth_attempts (expires_at);

-- What syncing remembers of a connection. A connection without this row belongs to the host app. provider: as the
-- connection has it, for good; with the region the place that has its own limits and pauses.
create table if not exists cgm_private.sync_state (
  connection_id          text        not null primary key
                                     references public.cgm_connections (id) on delete cascade on update cascade,
  person_id              text        not null references public."Person" (id) on delete cascade on update cascade,
  provider               text        not null,
  region                 text        not null,
  vendor_account_id      text,
  next_sync_at           timestamptz,
  keep_alive_at          timestamptz,
  failures_since         timestamptz,
  failure_count          integer     not null default 0,
  quiet_count            integer     not null default 0,
  reason                 text,
  history_start          timestamptz,
  history_done_at        timestamptz,
  scans                  jsonb       not null default '{}',
  refresh_until          timestamptz,
  generation             bigint      not null default 0,
  token_lifetime_s       integer     not null default 3600,
  previous_refresh_token text        not null default '',
  connected_at           timestamptz,
  adopted_at             timestamptz,
  created_at             timestamptz not null default now(),
  updated_at             timestamptz not null default now()
);
create index if not exists sync_state_next_sync_at_idx
  on cgm_private.sync_state (provider, region, next_sync_at) where next_sync_at is not null;
create index if not exists sync_state_keep_alive_at_idx
  on cgm_private.sync_state (keep_alive_at) where keep_alive_at is not null;
create index if not exists sync_state_person_id_idx on cgm_private.sync_state (person_id);
create index if not exists sync_state_reason_idx on cgm_private.sync_state (reason, region) where reason is not null;

-- Other ways in of the same connection, each with its own sign-in. "secret": what signs in again, where it may be kept.
create table if not exists cgm_private.routes (
  id                 text        not null primary key,
  connection_id      text        not null references public.cgm_connections (id) on delete cascade on update cascade,
  person_id          text        not null references public."Person" (id) on delete cascade on update cascade,
  route              text        not null,
  region             text        not null,
  vendor_account_id  text,
  secret             text        not null default '',
  session            text        not null default '',
  session_expires_at timestamptz not null,
  newest_at          timestamptz,
  reason             text,
  failure_count      integer     not null default 0,
  next_sync_at       timestamptz default now(),
  connected_at       timestamptz not null default now(),
  created_at         timestamptz not null default now(),
  constraint routes_connection_id_route_key unique (connection_id, route)
);
create index if not exists routes_person_id_idx on cgm_private.routes (person_id);
create index if not exists routes_next_sync_at_idx on cgm_private.routes (next_sync_at);

-- The history of syncs that people see.
create table if not exists cgm_private.sync_runs (
  id            text        not null primary key,
  connection_id text        not null references public.cgm_connections (id) on delete cascade on update cascade,
  person_id     text        not null references public."Person" (id) on delete cascade on update cascade,
  job_id        bigint,
  trigger       text        not null check (trigger in ('person', 'schedule', 'connect', 'command', 'import')),
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
  due_at        timestamptz,
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
  on cgm_private.reading_details (hashtextextended(person_id, 0), transmitter_ticks) where transmitter_ticks is not null;

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
create index if not exists sign_in_links_expires_at_idx on cgm_private.sign_in_links (expires_at);

create table if not exists cgm_private.signing_keys (
  kid            text        not null primary key,
  public_jwk     jsonb       not null,
  sealed_private text        not null,
  created_at     timestamptz not null default now(),
  retired_at     timestamptz
);

-- App-wide limits at a vendor: calls by the minute in which they were taken, and pauses after a refusal. A pause stays
-- after it is over, so that the next one in a row is longer.
create table if not exists cgm_private.vendor_budgets (
  provider     text        not null,
  region       text        not null,
  window_start timestamptz not null,
  calls        integer     not null default 0,
  constraint vendor_budgets_pkey primary key (provider, region, window_start)
);

create table if not exists cgm_private.provider_pauses (
  provider    text        not null,
  region      text        not null,
  until       timestamptz not null,
  reason      text        not null,
  strikes     integer     not null default 1,
  probe_until timestamptz,
  over        boolean     not null default false,
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
