"""A person's connection and newest reading as rows, in any state and of any age, without a vendor behind them."""

import uuid
from dataclasses import dataclass

from demo_process import Demo
from series import sql


@dataclass(frozen=True)
class Wearer:
    """A person with one connection that no worker will sync: it is never due."""

    demo: Demo
    person_id: str
    connection_id: str

    def put_connection(self, status: str, region: str) -> None:
        """Lets the connection be as it is asked for; ``gone``: there is none, as after disconnecting."""
        if status == "gone":
            self._run("delete from public.cgm_connections where id = %s returning id", self.connection_id)
            return
        self._run(
            "insert into public.cgm_connections"
            " (id, person_id, provider, access_token, refresh_token, token_expires_at, status, updated_at)"
            " values (%s, %s, 'dexcom', '', '', now() + interval '2 hours',"
            '         %s::public."CGMConnectionStatus", now())'
            " on conflict (id) do update set status = excluded.status returning id",
            self.connection_id, self.person_id, status,
        )  # fmt: skip
        self._run(
            "insert into cgm_private.sync_state (connection_id, person_id, provider, region)"
            " values (%s, %s, 'dexcom', %s)"
            " on conflict (connection_id) do update set region = excluded.region returning region",
            self.connection_id, self.person_id, region,
        )  # fmt: skip

    def put_reading(self, value: int, minutes_ago: float, *, trend: str = "flat", name: str = "newest") -> None:
        """One reading by a name of its own, from the connection where there is one; committed on return."""
        reading_id = str(uuid.uuid5(uuid.UUID(self.person_id), name))
        self._run(
            "with kept as ("
            ' insert into public.glucose_readings (id, person_id, "timestamp", value, source, cgm_connection_id)'
            " values (%s, %s, (now() - make_interval(secs => %s)) at time zone 'UTC', %s, 'cgm',"
            "         (select id from public.cgm_connections where id = %s))"
            ' on conflict (id) do update set "timestamp" = excluded."timestamp", value = excluded.value,'
            " cgm_connection_id = excluded.cgm_connection_id returning id, person_id)"
            " insert into cgm_private.reading_details (reading_id, person_id, stream, record_key, trend)"
            " select id, person_id, 'test', %s, %s from kept"
            " on conflict (person_id, stream, record_key) do update set trend = excluded.trend returning reading_id",
            reading_id, self.person_id, minutes_ago * 60, value, self.connection_id, name, trend,
        )  # fmt: skip

    def _run(self, query: str, *values: object) -> None:
        sql(self.demo, query, *values)


def wearer_of(demo: Demo, person_id: str) -> Wearer:
    return Wearer(demo, person_id, str(uuid.uuid5(uuid.UUID(person_id), "connection")))
