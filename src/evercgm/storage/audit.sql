-- name: record
insert into cgm_private.audit_events (actor, request_id, action, person_id, detail)
values (%(actor)s, %(request_id)s, %(action)s, %(person_id)s, %(detail)s::jsonb)
