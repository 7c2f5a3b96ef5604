-- Who wrote what, and when, by the database's clock: a machine's sessions name themselves by fleet.machine.
create table public.journal (
  id            bigint generated always as identity primary key,
  at            timestamptz not null default clock_timestamp(),
  machine       text default nullif(current_setting('fleet.machine', true), ''),
  what          text not null,
  connection_id text,
  run_id        text,
  trigger       text,
  due_at        timestamptz,
  starts        integer,
  state         text,
  outcome       text,
  next_sync_at  timestamptz
);

create function public.note_run() returns trigger language plpgsql security definer as $$
begin
  insert into public.journal (what, connection_id, run_id, trigger, due_at, starts, state, outcome, next_sync_at)
  select 'run', new.connection_id, new.id, new.trigger, new.due_at, new.starts, new.state, new.outcome, s.next_sync_at
  from cgm_private.sync_state s
  where s.connection_id = new.connection_id;
  return null;
end
$$;
create trigger note_run after insert or update on cgm_private.sync_runs
  for each row when (new.state <> 'queued') execute function public.note_run();

create function public.note_state() returns trigger language plpgsql security definer as $$
begin
  insert into public.journal (what, connection_id, next_sync_at) values ('state', new.connection_id, new.next_sync_at);
  return null;
end
$$;
create trigger note_state after update on cgm_private.sync_state
  for each row when (new.next_sync_at is distinct from old.next_sync_at) execute function public.note_state();

create function public.note_readings() returns trigger language plpgsql security definer as $$
begin
  insert into public.journal (what, connection_id)
  select distinct 'reading', w.cgm_connection_id from written w;
  return null;
end
$$;
create trigger note_new_readings after insert on public.glucose_readings
  referencing new table as written for each statement execute function public.note_readings();
create trigger note_changed_readings after update on public.glucose_readings
  referencing new table as written for each statement execute function public.note_readings();
