-- name: add_person
insert into public."Person" ("id", "ownerId") values (%(id)s, %(owner_id)s)

-- name: add_settings
insert into cgm_private.person_settings (person_id, label) values (%(id)s, %(label)s)

-- name: list_persons
select p."id" as id, p."ownerId" as owner_id, coalesce(s.label, p."id") as label
from public."Person" p
left join cgm_private.person_settings s on s.person_id = p."id"
where %(owner_id)s::text is null or p."ownerId" = %(owner_id)s
order by label, id

-- name: owners
select distinct "ownerId" as owner_id from public."Person"
