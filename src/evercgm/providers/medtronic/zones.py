"""Names of time zones as phones write them, into minutes from UTC; pure. The last of three sources of an offset."""

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

# Windows names (CLDR "windowsZones", territory 001) without their last words "Standard Time", which summer and other
# programs write otherwise; and what phones say in other languages of Europe. Left out are "Arabian" and "Samoa":
# Windows and phones mean zones hours apart by them.
_BY_NAME = {
    "Dateline": "Etc/GMT+12", "UTC-11": "Etc/GMT+11", "Aleutian": "America/Adak", "Hawaiian": "Pacific/Honolulu",
    "Hawaii-Aleutian": "Pacific/Honolulu", "Alaskan": "America/Anchorage", "Alaska": "America/Anchorage",
    "UTC-09": "Etc/GMT+9", "Pacific": "America/Los_Angeles", "Pacific (Mexico)": "America/Tijuana",
    "UTC-08": "Etc/GMT+8", "US Mountain": "America/Phoenix", "Mountain": "America/Denver",
    "Mountain (Mexico)": "America/Mazatlan", "Yukon": "America/Whitehorse", "Central America": "America/Guatemala",
    "Central": "America/Chicago", "Central (Mexico)": "America/Mexico_City", "Canada Central": "America/Regina",
    "Easter Island": "Pacific/Easter", "SA Pacific": "America/Bogota", "Colombia": "America/Bogota",
    "Peru": "America/Lima", "Ecuador": "America/Guayaquil", "Eastern (Mexico)": "America/Cancun",
    "Eastern": "America/New_York", "US Eastern": "America/Indianapolis", "Haiti": "America/Port-au-Prince",
    "Cuba": "America/Havana", "Turks And Caicos": "America/Grand_Turk", "Atlantic": "America/Halifax",
    "Paraguay": "America/Asuncion", "Venezuela": "America/Caracas", "SA Western": "America/La_Paz",
    "Central Brazilian": "America/Cuiaba", "Amazon": "America/Manaus", "Pacific SA": "America/Santiago",
    "Chile": "America/Santiago", "Newfoundland": "America/St_Johns", "Tocantins": "America/Araguaina",
    "E. South America": "America/Sao_Paulo", "Brasilia": "America/Sao_Paulo", "SA Eastern": "America/Cayenne",
    "Argentina": "America/Argentina/Buenos_Aires", "Greenland": "America/Nuuk", "Montevideo": "America/Montevideo",
    "Uruguay": "America/Montevideo", "Bahia": "America/Bahia", "Saint Pierre": "America/Miquelon",
    "UTC-02": "Etc/GMT+2", "Azores": "Atlantic/Azores", "Cape Verde": "Atlantic/Cape_Verde", "UTC": "Etc/UTC",
    "Coordinated Universal": "Etc/UTC", "GMT": "Europe/London", "Greenwich Mean": "Etc/UTC",
    "British": "Europe/London", "Irish": "Europe/Dublin", "Greenwich": "Atlantic/Reykjavik",
    "Western European": "Europe/Lisbon", "Morocco": "Africa/Casablanca", "Sao Tome": "Africa/Sao_Tome",
    "W. Europe": "Europe/Berlin", "Central Europe": "Europe/Budapest", "Central European": "Europe/Warsaw",
    "Romance": "Europe/Paris", "W. Central Africa": "Africa/Lagos", "West Africa": "Africa/Lagos",
    "GTB": "Europe/Bucharest", "E. Europe": "Europe/Chisinau", "Eastern European": "Europe/Athens",
    "FLE": "Europe/Kyiv", "Middle East": "Asia/Beirut", "Egypt": "Africa/Cairo", "Syria": "Asia/Damascus",
    "West Bank": "Asia/Hebron", "South Africa": "Africa/Johannesburg", "Central Africa": "Africa/Maputo",
    "Israel": "Asia/Jerusalem", "South Sudan": "Africa/Juba", "Kaliningrad": "Europe/Kaliningrad",
    "Sudan": "Africa/Khartoum", "Libya": "Africa/Tripoli", "Namibia": "Africa/Windhoek", "Jordan": "Asia/Amman",
    "Arabic": "Asia/Baghdad", "Arab": "Asia/Riyadh", "Gulf": "Asia/Dubai",
    "Turkey": "Europe/Istanbul", "Belarus": "Europe/Minsk", "Russian": "Europe/Moscow", "Moscow": "Europe/Moscow",
    "E. Africa": "Africa/Nairobi", "East Africa": "Africa/Nairobi", "Volgograd": "Europe/Volgograd",
    "Iran": "Asia/Tehran", "Astrakhan": "Europe/Astrakhan", "Azerbaijan": "Asia/Baku", "Samara": "Europe/Samara",
    "Russia Time Zone 3": "Europe/Samara", "Mauritius": "Indian/Mauritius", "Saratov": "Europe/Saratov",
    "Georgian": "Asia/Tbilisi", "Caucasus": "Asia/Yerevan", "Afghanistan": "Asia/Kabul", "West Asia": "Asia/Tashkent",
    "Ekaterinburg": "Asia/Yekaterinburg", "Pakistan": "Asia/Karachi", "India": "Asia/Kolkata",
    "Sri Lanka": "Asia/Colombo", "Nepal": "Asia/Kathmandu", "Central Asia": "Asia/Bishkek",
    "Bangladesh": "Asia/Dhaka", "Omsk": "Asia/Omsk", "Myanmar": "Asia/Yangon", "SE Asia": "Asia/Bangkok",
    "Indochina": "Asia/Bangkok", "Altai": "Asia/Barnaul", "W. Mongolia": "Asia/Hovd", "North Asia": "Asia/Krasnoyarsk",
    "N. Central Asia": "Asia/Novosibirsk", "Tomsk": "Asia/Tomsk", "China": "Asia/Shanghai",
    "Hong Kong": "Asia/Hong_Kong", "North Asia East": "Asia/Irkutsk", "Singapore": "Asia/Singapore",
    "Malaysia": "Asia/Kuala_Lumpur", "W. Australia": "Australia/Perth", "Australian Western": "Australia/Perth",
    "Taipei": "Asia/Taipei", "Ulaanbaatar": "Asia/Ulaanbaatar", "Aus Central W.": "Australia/Eucla",
    "Transbaikal": "Asia/Chita", "Tokyo": "Asia/Tokyo", "Japan": "Asia/Tokyo", "North Korea": "Asia/Pyongyang",
    "Korea": "Asia/Seoul", "Korean": "Asia/Seoul", "Yakutsk": "Asia/Yakutsk", "Cen. Australia": "Australia/Adelaide",
    "Australian Central": "Australia/Adelaide", "AUS Central": "Australia/Darwin",
    "E. Australia": "Australia/Brisbane", "AUS Eastern": "Australia/Sydney", "Australian Eastern": "Australia/Sydney",
    "West Pacific": "Pacific/Port_Moresby", "Tasmania": "Australia/Hobart", "Vladivostok": "Asia/Vladivostok",
    "Lord Howe": "Australia/Lord_Howe", "Bougainville": "Pacific/Bougainville",
    "Russia Time Zone 10": "Asia/Srednekolymsk", "Magadan": "Asia/Magadan", "Norfolk": "Pacific/Norfolk",
    "Sakhalin": "Asia/Sakhalin", "Central Pacific": "Pacific/Guadalcanal", "Russia Time Zone 11": "Asia/Kamchatka",
    "New Zealand": "Pacific/Auckland", "UTC+12": "Etc/GMT-12", "Fiji": "Pacific/Fiji",
    "Chatham Islands": "Pacific/Chatham", "UTC+13": "Etc/GMT-13", "Tonga": "Pacific/Tongatapu",
    "Line Islands": "Pacific/Kiritimati",
    "Mitteleuropäische": "Europe/Berlin", "Osteuropäische": "Europe/Athens", "Westeuropäische": "Europe/Lisbon",
    "d’Europe centrale": "Europe/Paris", "d’Europe de l’Est": "Europe/Athens", "d’Europe de l’Ouest": "Europe/Lisbon",
    "de Europa central": "Europe/Madrid", "de Europa oriental": "Europe/Athens",
    "de Europa occidental": "Europe/Lisbon", "dell’Europa centrale": "Europe/Rome",
    "da Europa Central": "Europe/Paris", "da Europa Ocidental": "Europe/Lisbon",
    "Midden-Europese": "Europe/Amsterdam", "Centraleuropeisk": "Europe/Stockholm",
    "centraleuropæisk": "Europe/Copenhagen", "sentraleuropeisk": "Europe/Oslo",
    "środkowoeuropejski": "Europe/Warsaw", "Středoevropský": "Europe/Prague",
    "Keski-Euroopan": "Europe/Berlin", "Itä-Euroopan": "Europe/Helsinki",
}  # fmt: skip
# "GMT Standard Time" is what Windows calls London's, summer included; alone it is no zone of London's.
_WHOLE = {"gmt": "Etc/UTC"}
# The words about the season: the time of year is known from the calendar.
_SEASON = re.compile(
    r"\b(standard time|daylight time|summer time|time|normalzeit|sommerzeit|zeit|heure normale|heure d[’']été|heure"
    r"|hora estándar|hora de verano|hora padrão|hora|ora standard|ora legale|standaardtijd|zomertijd|tijd|normaltid"
    r"|sommertid|sommartid|tid|czas|standardowy|letni|standardní čas|letní čas|čas|normaaliaika|kesäaika|aika)\b"
)
_PLAIN = re.compile(r"(?:GMT|UTC)\s*(?P<sign>[+-])(?P<hours>[0-9]{1,2})(?::?(?P<minutes>[0-9]{2}))?")
_AREA = re.compile(r"(?:Africa|America|Antarctica|Arctic|Asia|Atlantic|Australia|Europe|Indian|Pacific)/[A-Za-z/_-]+")
LONGEST_NAME = 80


def offset_min(name: str, at: datetime) -> int | None:
    """Minutes from UTC, at ``at`` (aware), of the zone with this display name; None: no such name is known."""
    if len(name) > LONGEST_NAME:
        return None
    name = name.strip()
    plain = _PLAIN.fullmatch(name)
    if plain is not None:
        minutes = int(plain["hours"]) * 60 + int(plain["minutes"] or 0)
        return minutes if plain["sign"] == "+" else -minutes
    area = name if _AREA.fullmatch(name) else _WHOLE.get(name.casefold()) or _KNOWN.get(_bare(name))
    if area is None:
        return None
    try:
        offset = at.astimezone(ZoneInfo(area)).utcoffset()
    except (KeyError, OSError, ValueError):
        return None
    return None if offset is None else offset // timedelta(minutes=1)


def _bare(name: str) -> str:
    """A name without its words about the season, for comparison."""
    plain = name.casefold().replace("'", "’")
    return " ".join(_SEASON.sub(" ", plain).split()) or plain


_KNOWN = {_bare(name): area for name, area in _BY_NAME.items()}
