"""For people: what each check looks at, why it matters, and what to do. docs/verify.md says the same, shorter."""

from dataclasses import dataclass

_MIGRATE = (
    "evercgm db migrate --plan shows what it would do, evercgm db migrate does it. Of a recorded migration, what is "
    "missing is made again by evercgm db migrate --repair VERSION (H1 names it); what is in another form, by hand."
)
_RIGHTS = (
    "evercgm db migrate (without --compat) sets again what the API's roles and everybody may do; what they have by way "
    "of another role, revoke by hand."
)
_GRANTS = "evercgm db migrate sets them again; see evercgm db migrate --plan."


@dataclass(frozen=True, slots=True)
class Words:
    """One check in words."""

    title: str
    why: str
    mend: str


WORDS = {
    "T1": Words("tables and columns", "the service and the host app's client read exactly these columns", _MIGRATE),
    "T2": Words(
        "enums",
        "a label more makes the host app's whole list fail, a label less refuses rows",
        "Bring the labels to this list, in this order: a decision for people, no migration does it.",
    ),
    "T3": Words(
        "indexes",
        "a missing one makes lists slow; without the unique one a person connects twice",
        "Drop the wrong or invalid index; evercgm db migrate makes it again, of a recorded migration with "
        "--repair VERSION (H1 names it). Prisma would drop one that is there besides.",
    ),
    "T4": Words(
        "references",
        "a person who goes takes their connections along, only if the database does it",
        "Drop the wrong one; evercgm db migrate makes it again, of a recorded migration with --repair VERSION "
        "(H1 names it). Not validated: alter table … validate constraint.",
    ),
    "T5": Words("the readings' column", "readings outlive their connection only by ON DELETE SET NULL", _MIGRATE),
    "T6": Words(
        "triggers and functions",
        "they fill updated_at and keep readings with their person; a loose search_path runs other people's code",
        _MIGRATE,
    ),
    "R1": Words(
        "row-level security",
        "without it, or with a role that passes it, everybody's rows are one",
        "alter table … enable row level security; evercgm db login-role prints a role with least rights.",
    ),
    "R2": Words("policies", "each policy more is another way in, each one less shuts owners out", _MIGRATE),
    "R3": Words(
        "what policies compare",
        "without the cast to text they fail; called once a row they take twenty times as long",
        _MIGRATE,
    ),
    "R4": Words("auth.uid()", "it says who is asking", "It is Supabase's own: restore it; standalone: bootstrap."),
    "R5": Words(
        "the host app's persons",
        'whoever may change "ownerId" owns the person, and with them their tokens',
        "It is the host app's table: enable row-level security there, with a policy by which owners see their persons.",
    ),
    "R6": Words(
        "the host app's readings",
        "without row-level security every signed-in user reads and deletes all readings",
        "It is the host app's table: enable row-level security there, with policies for owners, or revoke the grants.",
    ),
    "G1": Words(
        "rights beyond rows",
        "row-level security does not stop TRUNCATE",
        _RIGHTS,
    ),
    "G2": Words("tokens closed", "a stolen browser session would carry the vendor's tokens away", _RIGHTS),
    "G3": Words(
        "the service's roles",
        "a way to service_role is a way around row-level security",
        "Revoke the membership; evercgm db login-role prints a role with least rights.",
    ),
    "G4": Words(
        "default privileges",
        "new tables are open to the API unless somebody closes them",
        "alter default privileges in schema public revoke all on tables from anon, authenticated",
    ),
    "G5": Words("the service's grants", "with less the service stops, with more it could do harm", _GRANTS),
    "D1": Words(
        "persons and readings",
        "such rows are seen by nobody, by the wrong person, or twice",
        "They are the host app's rows to mend.",
    ),
    "D2": Words(
        "tokens at rest",
        "a token in plain text is one for whoever reads a dump",
        "evercgm adopt takes over the host app's connections and seals their tokens.",
    ),
    "D3": Words(
        "quarantine",
        "these connections wait for a decision, and do not sync",
        "evercgm db quarantine list, then: evercgm db quarantine resolve",
    ),
    "H1": Words(
        "history",
        "what is recorded is not run again, and what is not recorded may be",
        "evercgm db status names the command that mends each.",
    ),
    "L1": Words(
        "live proof",
        "the name of a policy proves nothing; the try of a stranger does",
        "Run it with the migrating role (MIGRATION_DATABASE_URL); where a try failed, see the R and G checks.",
    ),
}
