set local lock_timeout = '5s';
set local standard_conforming_strings = on;
set local quote_all_identifiers = off;

-- The job engine's own tables (PgQueuer 1.6.0, durable), as the engine prints them, made once. Guarded by grants alone:
-- row-level security would break enqueueing. They are there as the engine made them, or not at all: a part of them, or
-- another version's, is a stop.
do $$
declare
  path text := current_setting('search_path');
  wrong text;
begin
  if to_regprocedure('cgm_private.other_form(text, text, boolean)') is null then
    raise exception 'schema cgm_private is not prepared: 20261124000001_cgm_match_production.sql comes first'
      using errcode = 'undefined_function';
  end if;
  if not exists (
    select from pg_catalog.pg_depend d
     where d.refclassid = 'pg_catalog.pg_namespace'::regclass and d.refobjid = to_regnamespace('cgm_jobs')::oid
  ) then
    return;
  end if;

  perform set_config('search_path', '', true);
  with expected (kind, on_table, name, form) as (
    values
      -- expected
      ('enum', '', 'cgm_jobs.pgqueuer_status', '''queued'', ''picked'', ''successful'', ''exception'', ''canceled'', ''deleted'', ''failed'''),
      ('function', '', 'cgm_jobs.fn_pgqueuer_changed()', 'returns trigger language plpgsql volatile set search_path="" body b41b8a8f3de557e8'),
      ('trigger', 'cgm_jobs.pgqueuer', 'tg_pgqueuer_changed', 'CREATE TRIGGER tg_pgqueuer_changed AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON cgm_jobs.pgqueuer FOR EACH STATEMENT EXECUTE FUNCTION cgm_jobs.fn_pgqueuer_changed()'),
      ('table', 'cgm_jobs.pgqueuer', '',
       'attempts integer not null default 0; created timestamp with time zone not null default now(); dedupe_key text;
        entrypoint text not null; execute_after timestamp with time zone not null default now(); headers jsonb;
        heartbeat timestamp with time zone not null default now(); id bigint not null default
        nextval(''cgm_jobs.pgqueuer_id_seq''::regclass); payload bytea; priority integer not null; queue_manager_id
        uuid; slot bigint; status cgm_jobs.pgqueuer_status not null; updated timestamp with time zone not null default
        now(); pgqueuer_pkey PRIMARY KEY (id); CREATE INDEX pgqueuer_ep_ea_idx ON cgm_jobs.pgqueuer USING btree
        (entrypoint, execute_after) WHERE (status = ''queued''::cgm_jobs.pgqueuer_status); CREATE INDEX
        pgqueuer_ep_prio_id_idx ON cgm_jobs.pgqueuer USING btree (entrypoint, priority DESC, id) WHERE (status =
        ''queued''::cgm_jobs.pgqueuer_status); CREATE INDEX pgqueuer_picked_heartbeat_idx ON cgm_jobs.pgqueuer USING
        btree (heartbeat) WHERE (status = ''picked''::cgm_jobs.pgqueuer_status); CREATE UNIQUE INDEX
        pgqueuer_picked_slot_idx ON cgm_jobs.pgqueuer USING btree (entrypoint, slot) WHERE ((status =
        ''picked''::cgm_jobs.pgqueuer_status) AND (slot IS NOT NULL)); CREATE INDEX pgqueuer_priority_id_id1_idx ON
        cgm_jobs.pgqueuer USING btree (priority, id DESC) INCLUDE (id) WHERE (status =
        ''queued''::cgm_jobs.pgqueuer_status); CREATE INDEX pgqueuer_queue_manager_id_idx ON cgm_jobs.pgqueuer USING
        btree (queue_manager_id) WHERE (queue_manager_id IS NOT NULL); CREATE UNIQUE INDEX pgqueuer_unique_dedupe_key
        ON cgm_jobs.pgqueuer USING btree (dedupe_key) WHERE ((status = ANY
        (ARRAY[''queued''::cgm_jobs.pgqueuer_status, ''picked''::cgm_jobs.pgqueuer_status])) AND (dedupe_key IS NOT
        NULL)); CREATE INDEX pgqueuer_updated_id_id1_idx ON cgm_jobs.pgqueuer USING btree (updated, id DESC) INCLUDE
        (id) WHERE (status = ''picked''::cgm_jobs.pgqueuer_status)'),
      ('table', 'cgm_jobs.pgqueuer_log', '',
       'aggregated boolean default false; created timestamp with time zone not null default now(); entrypoint text not
        null; id bigint not null identity; job_id bigint not null; priority integer not null; status
        cgm_jobs.pgqueuer_status not null; traceback jsonb; pgqueuer_log_pkey PRIMARY KEY (id); CREATE INDEX
        pgqueuer_log_created ON cgm_jobs.pgqueuer_log USING btree (created); CREATE INDEX pgqueuer_log_job_id_status
        ON cgm_jobs.pgqueuer_log USING btree (job_id, created DESC); CREATE INDEX pgqueuer_log_not_aggregated ON
        cgm_jobs.pgqueuer_log USING btree ((1)) WHERE (NOT aggregated); CREATE INDEX pgqueuer_log_status ON
        cgm_jobs.pgqueuer_log USING btree (status)'),
      ('table', 'cgm_jobs.pgqueuer_schedules', '',
       'created timestamp with time zone not null default now(); entrypoint text not null; expression text not null;
        heartbeat timestamp with time zone not null default now(); id bigint not null default
        nextval(''cgm_jobs.pgqueuer_schedules_id_seq''::regclass); last_run timestamp with time zone; next_run
        timestamp with time zone not null default now(); status cgm_jobs.pgqueuer_status default
        ''queued''::cgm_jobs.pgqueuer_status; updated timestamp with time zone not null default now();
        pgqueuer_schedules_pkey PRIMARY KEY (id); CREATE UNIQUE INDEX pgqueuer_schedules_expression_entrypoint_key ON
        cgm_jobs.pgqueuer_schedules USING btree (expression, entrypoint)'),
      ('table', 'cgm_jobs.pgqueuer_statistics', '',
       'count bigint not null; created timestamp with time zone not null default date_trunc(''sec''::text, now());
        entrypoint text not null; id bigint not null default
        nextval(''cgm_jobs.pgqueuer_statistics_id_seq''::regclass); priority integer not null; status
        cgm_jobs.pgqueuer_status not null; pgqueuer_statistics_pkey PRIMARY KEY (id); CREATE UNIQUE INDEX
        pgqueuer_statistics_unique_count ON cgm_jobs.pgqueuer_statistics USING btree (priority,
        date_trunc(''sec''::text, timezone(''UTC''::text, created)), status, entrypoint)')
      -- end of expected
  ),
  printed as (
    select e.*,
           case e.kind
             when 'enum' then (
               select string_agg(quote_literal(l.enumlabel), ', ' order by l.enumsortorder)
                 from pg_catalog.pg_enum l
                where l.enumtypid = to_regtype(e.name))
             when 'function' then (
               select concat_ws(' ',
                        'returns', pg_catalog.pg_get_function_result(p.oid),
                        'language', (select l.lanname from pg_catalog.pg_language l where l.oid = p.prolang),
                        case p.provolatile when 's' then 'stable' when 'i' then 'immutable' else 'volatile' end,
                        case when p.prosecdef then 'security definer' end,
                        'set ' || array_to_string(p.proconfig, ', '),
                        'body ' || left(encode(sha256(convert_to(
                          regexp_replace(p.prosrc, '\s+', ' ', 'g'), 'UTF8')), 'hex'), 16))
                 from pg_catalog.pg_proc p
                where p.oid = to_regprocedure(e.name))
             when 'trigger' then (
               select concat_ws(' ', pg_catalog.pg_get_triggerdef(t.oid),
                        case t.tgenabled when 'D' then '(disabled)' when 'R' then '(replica)' when 'A' then '(always)' end)
                 from pg_catalog.pg_trigger t
                where t.tgrelid = to_regclass(e.on_table) and quote_ident(t.tgname) = e.name)
             when 'table' then
               case when to_regclass(e.on_table) is null then 'missing'
                    else cgm_private.other_form(e.on_table, e.form, true) end
           end as has
      from expected e
  )
  select string_agg(
           case
             when has is null or has = 'missing' then concat_ws(' ', kind, nullif(on_table, ''), name, 'is missing')
             when kind = 'table' then has
             else format('%s: expected %s; found %s', concat_ws(' ', kind, nullif(on_table, ''), name), form, has)
           end, '; ' order by kind, on_table, name)
    into wrong
    from printed
   where case when kind = 'table' then has is not null else has is distinct from form end;
  perform set_config('search_path', path, true);
  if wrong is not null then
    raise exception 'schema cgm_jobs holds something else than the job engine made, and nothing was changed: %', wrong
      using hint = 'what was left half made: drop schema cgm_jobs, if no jobs wait in it';
  end if;
end
$$;

do $migration$
begin
  if to_regclass('cgm_jobs.pgqueuer') is not null then
    return;
  end if;

  CREATE SCHEMA IF NOT EXISTS cgm_jobs;

  CREATE TYPE cgm_jobs.pgqueuer_status AS ENUM ('queued', 'picked', 'successful', 'exception', 'canceled', 'deleted', 'failed');

  CREATE TABLE cgm_jobs.pgqueuer (
      id bigserial NOT NULL PRIMARY KEY,
      priority integer NOT NULL,
      queue_manager_id uuid,
      created timestamp with time zone NOT NULL DEFAULT now(),
      updated timestamp with time zone NOT NULL DEFAULT now(),
      heartbeat timestamp with time zone NOT NULL DEFAULT now(),
      execute_after timestamp with time zone NOT NULL DEFAULT now(),
      status cgm_jobs.pgqueuer_status NOT NULL,
      entrypoint text NOT NULL,
      dedupe_key text,
      payload bytea,
      headers jsonb,
      attempts integer NOT NULL DEFAULT 0,
      slot bigint
  );

  CREATE TABLE cgm_jobs.pgqueuer_log (
      id bigint GENERATED BY DEFAULT AS IDENTITY NOT NULL PRIMARY KEY,
      created timestamp with time zone NOT NULL DEFAULT now(),
      job_id bigint NOT NULL,
      status cgm_jobs.pgqueuer_status NOT NULL,
      priority integer NOT NULL,
      entrypoint text NOT NULL,
      traceback jsonb,
      aggregated boolean DEFAULT false
  );

  CREATE TABLE cgm_jobs.pgqueuer_schedules (
      id bigserial NOT NULL PRIMARY KEY,
      expression text NOT NULL,
      entrypoint text NOT NULL,
      heartbeat timestamp with time zone NOT NULL DEFAULT now(),
      created timestamp with time zone NOT NULL DEFAULT now(),
      updated timestamp with time zone NOT NULL DEFAULT now(),
      next_run timestamp with time zone NOT NULL DEFAULT now(),
      last_run timestamp with time zone,
      status cgm_jobs.pgqueuer_status DEFAULT 'queued'::cgm_jobs.pgqueuer_status,
      UNIQUE (expression, entrypoint)
  );

  CREATE TABLE cgm_jobs.pgqueuer_statistics (
      id bigserial NOT NULL PRIMARY KEY,
      created timestamp with time zone NOT NULL DEFAULT date_trunc('sec'::text, now()),
      count bigint NOT NULL,
      priority integer NOT NULL,
      status cgm_jobs.pgqueuer_status NOT NULL,
      entrypoint text NOT NULL
  );

  CREATE INDEX pgqueuer_ep_ea_idx ON cgm_jobs.pgqueuer USING btree (entrypoint, execute_after) WHERE (status = 'queued'::cgm_jobs.pgqueuer_status);

  CREATE INDEX pgqueuer_ep_prio_id_idx ON cgm_jobs.pgqueuer USING btree (entrypoint, priority DESC, id) WHERE (status = 'queued'::cgm_jobs.pgqueuer_status);

  CREATE INDEX pgqueuer_log_created ON cgm_jobs.pgqueuer_log USING btree (created);

  CREATE INDEX pgqueuer_log_job_id_status ON cgm_jobs.pgqueuer_log USING btree (job_id, created DESC);

  CREATE INDEX pgqueuer_log_not_aggregated ON cgm_jobs.pgqueuer_log USING btree ((1)) WHERE (NOT aggregated);

  CREATE INDEX pgqueuer_log_status ON cgm_jobs.pgqueuer_log USING btree (status);

  CREATE INDEX pgqueuer_picked_heartbeat_idx ON cgm_jobs.pgqueuer USING btree (heartbeat) WHERE (status = 'picked'::cgm_jobs.pgqueuer_status);

  CREATE UNIQUE INDEX pgqueuer_picked_slot_idx ON cgm_jobs.pgqueuer USING btree (entrypoint, slot) WHERE ((status = 'picked'::cgm_jobs.pgqueuer_status) AND (slot IS NOT NULL));

  CREATE INDEX pgqueuer_priority_id_id1_idx ON cgm_jobs.pgqueuer USING btree (priority, id DESC) INCLUDE (id) WHERE (status = 'queued'::cgm_jobs.pgqueuer_status);

  CREATE INDEX pgqueuer_queue_manager_id_idx ON cgm_jobs.pgqueuer USING btree (queue_manager_id) WHERE (queue_manager_id IS NOT NULL);

  CREATE UNIQUE INDEX pgqueuer_statistics_unique_count ON cgm_jobs.pgqueuer_statistics USING btree (priority, date_trunc('sec'::text, timezone('UTC'::text, created)), status, entrypoint);

  CREATE UNIQUE INDEX pgqueuer_unique_dedupe_key ON cgm_jobs.pgqueuer USING btree (dedupe_key) WHERE ((status = ANY (ARRAY['queued'::cgm_jobs.pgqueuer_status, 'picked'::cgm_jobs.pgqueuer_status])) AND (dedupe_key IS NOT NULL));

  CREATE INDEX pgqueuer_updated_id_id1_idx ON cgm_jobs.pgqueuer USING btree (updated, id DESC) INCLUDE (id) WHERE (status = 'picked'::cgm_jobs.pgqueuer_status);

  CREATE FUNCTION cgm_jobs.fn_pgqueuer_changed() RETURNS TRIGGER AS $$
  DECLARE
      to_emit BOOLEAN := false;  -- Flag to decide whether to emit a notification
  BEGIN
      -- Check operation type and set the emit flag accordingly
      IF TG_OP = 'UPDATE' AND OLD IS DISTINCT FROM NEW THEN
          to_emit := true;
      ELSIF TG_OP = 'DELETE' THEN
          to_emit := true;
      ELSIF TG_OP = 'INSERT' THEN
          to_emit := true;
      ELSIF TG_OP = 'TRUNCATE' THEN
          to_emit := true;
      END IF;

      -- Perform notification if the emit flag is set
      IF to_emit THEN
          PERFORM pg_notify(
              'ch_pgqueuer',
              json_build_object(
                  'channel', 'ch_pgqueuer',
                  'operation', lower(TG_OP),
                  'sent_at', NOW(),
                  'table', TG_TABLE_NAME,
                  'type', 'table_changed_event'
              )::text
          );
      END IF;

      -- Return appropriate value based on the operation
      IF TG_OP IN ('INSERT', 'UPDATE') THEN
          RETURN NEW;
      ELSIF TG_OP = 'DELETE' THEN
          RETURN OLD;
      ELSE
          RETURN NULL; -- For TRUNCATE and other non-row-specific contexts
      END IF;

  END;
  $$ LANGUAGE plpgsql;

  CREATE TRIGGER tg_pgqueuer_changed
  AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cgm_jobs.pgqueuer
  EXECUTE FUNCTION cgm_jobs.fn_pgqueuer_changed();

  alter function cgm_jobs.fn_pgqueuer_changed() set search_path = '';
end
$migration$;

do $$
begin
  perform cgm_private.close_schema('cgm_jobs', 'cgm_request', 'cgm_worker');
end
$$;
grant usage on schema cgm_jobs to cgm_worker;
grant all on all tables in schema cgm_jobs to cgm_worker;
grant all on all sequences in schema cgm_jobs to cgm_worker;
grant execute on all functions in schema cgm_jobs to cgm_worker;
