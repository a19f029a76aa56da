"""Own which five-field cron texts are accepted, and the one way each of them is written.

The grammar is cron(8) as Debian has it, checked here before croniter sees a text: croniter also takes seconds, `R`, `5-5`
for a whole cycle and other things that mean something else to other people.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from background.exceptions import InvalidSchedule
from background.timing.wording import _, say, shorten

LONGEST = 255
ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ITEM = re.compile(r"(?:(\*)|(\w+)(?:-(\w+))?)(?:/(\w+))?", re.ASCII)
_LAST_WEEKDAY = re.compile(r"l(\w+)", re.ASCII)
_NTH_WEEKDAY = re.compile(r"(\w+)#(\w+)", re.ASCII)


@dataclass(frozen=True)
class Field:
    """One of the five columns: its bounds, and the names its values have."""

    label: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    @property
    def full(self) -> str:
        return f"{self.low}-{6 if self is WEEKDAY else self.high}"


@dataclass(frozen=True)
class Word:
    """A piece of the text and where it begins, counted from 0."""

    text: str
    start: int


MINUTE = Field(_("minute"), 0, 59)
HOUR = Field(_("hour"), 0, 23)
DAY = Field(_("day of month"), 1, 31)
MONTH = Field(_("month"), 1, 12, tuple("jan feb mar apr may jun jul aug sep oct nov dec".split()))
WEEKDAY = Field(_("day of week"), 0, 7, tuple("sun mon tue wed thu fri sat".split()))
FIELDS = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)


def canonical(text: object) -> str:
    """Return the text in its one canonical form: five fields, numbers for names, aliases written out.

    Raises InvalidSchedule, naming the field and the position, for anything else. What it accepts may still never come.
    """
    text = check_line(text)
    words = _words(text)
    if len(words) == 1 and words[0].text.startswith("@"):
        return _alias(words[0])
    if len(words) != len(FIELDS):
        raise InvalidSchedule(_wrong_count(words))
    fields = [_field(field, word) for field, word in zip(FIELDS, words, strict=True)]
    _check_days(words, fields)
    return " ".join(fields)


def check_line(text: object) -> str:
    """Return `text` if it is one short line of ASCII; InvalidSchedule else."""
    if not isinstance(text, str):
        raise InvalidSchedule(
            say(_("A schedule is a text such as “*/5 * * * *”, not %(what)s."), what=type(text).__name__)
        )
    if len(text) > LONGEST:
        problem = say(
            _("a schedule has at most %(limit)d characters; this one has %(length)d."), limit=LONGEST, length=len(text)
        )
        raise _wrong(_field_of(text, LONGEST), LONGEST, problem)
    for position, letter in enumerate(text):
        if letter != "\t" and not " " <= letter <= "~":
            problem = say(
                _("%(letter)s cannot stand in a schedule: one line of ASCII is expected."), letter=ascii(letter)
            )
            raise _wrong(_field_of(text, position), position, problem)
    if not text.strip():
        raise InvalidSchedule(say(_("The schedule is empty; expected a text such as “*/5 * * * *”.")))
    return text


def no_such_date(text: str, years: int) -> InvalidSchedule:
    """Return the error for an accepted text whose day fields name a date that never comes."""
    day, month = _words(text)[2:4]
    problem = say(
        _("“%(day)s” in month “%(month)s” is a date that does not come within %(years)d years."),
        day=shorten(day.text),
        month=shorten(month.text),
        years=years,
    )
    return _wrong(DAY, day.start, problem)


def _field_of(text: str, position: int) -> Field | None:
    """Return the field in which that character stands; None outside of the five, and in “every 5m” and its like."""
    words = text[: position + 1].split()
    is_cron = bool(words) and not words[0].lower().startswith(("every", "at", "@"))
    return FIELDS[len(words) - 1] if is_cron and len(words) <= len(FIELDS) else None


def _words(text: str) -> list[Word]:
    return [Word(match[0].lower(), match.start()) for match in re.finditer(r"[^ \t]+", text)]


def _alias(word: Word) -> str:
    if word.text in ALIASES:
        return ALIASES[word.text]
    if word.text == "@reboot":
        problem = say(_("“@reboot” has no time of day; use a service's on_start() or run_at_start for it."))
    else:
        problem = say(_("“%(word)s” is none of %(known)s."), word=shorten(word.text), known=", ".join(ALIASES))
    raise _wrong(None, word.start, problem)


def _wrong_count(words: list[Word]) -> str:
    values = {
        "count": len(words),
        "position": words[-1].start + 1,
        "fields": ", ".join(say(f.label) for f in FIELDS),
    }
    if len(words) in (6, 7):
        return say(
            _(
                "Character %(position)d: %(count)d fields; a schedule has five (%(fields)s), without seconds or years. "
                "For seconds write “every 30s”."
            ),
            **values,
        )
    if len(words) > 7:
        values["position"] = words[5].start + 1
    return say(
        _(
            "Character %(position)d: five fields are expected (%(fields)s), not %(count)d. Other forms are “@daily”, "
            "“every 5 minutes” and “at 2027-01-01T00:00:00Z”."
        ),
        **values,
    )


def _wrong(field: Field | None, start: int, problem: str) -> InvalidSchedule:
    """Return the error for what stands at `start`, counted from 0."""
    values = {"position": start + 1, "problem": problem}
    if field is None:
        return InvalidSchedule(say(_("Character %(position)d: %(problem)s"), **values))
    named = say(field.label)
    return InvalidSchedule(say(_("Field “%(field)s”, character %(position)d: %(problem)s"), field=named, **values))


def _field(field: Field, word: Word) -> str:
    """Return the field in canonical form: `*` only at its beginning, where cron(8) looks for it."""
    items: list[str] = []
    start = word.start
    for part in word.text.split(","):
        item = _item(field, Word(part, start))
        items.append(item if not items else item.replace("*", field.full))
        start += len(part) + 1
    if items[0] == "*":
        return "*"  # whatever follows adds nothing
    special = [item for item in items if _is_nth(item)]
    if special and len(special) < len(items):
        problem = say(_("“%(item)s” cannot be mixed with plain days of the week."), item=special[0])
        raise _wrong(field, word.start, problem)
    return ",".join(dict.fromkeys(",".join(items).split(",")))


def _is_nth(item: str) -> bool:
    return "#" in item or (item[0] == "L" and len(item) > 1)


def _item(field: Field, word: Word) -> str:
    if field is DAY and word.text == "l":
        return "L"
    if field is WEEKDAY and (special := _special_weekday(word)):
        return special
    match = _ITEM.fullmatch(word.text)
    if match is None:
        raise _wrong(field, word.start, _why_no_item(field, word.text))
    star, first, last, step = match.groups()
    by = "" if step is None else f"/{_step(field, word, step)}"
    if star:
        return f"*{by}"
    low = _value(field, word, first)
    if last is None and step is None:
        return str(low % 7 if field is WEEKDAY else low)
    if last is None:
        high = 6 if field is WEEKDAY and low < 7 else field.high  # `N/step` counts to the end of the field
    else:
        high = _value(field, word, last)
    if low > high:
        raise _wrong(field, word.start, _wrapping(field, first, last))
    return _range(field, low, high, by)


def _range(field: Field, low: int, high: int, by: str) -> str:
    if low == high:
        return str(low % 7 if field is WEEKDAY else low)
    if field is WEEKDAY and high == 7:  # croniter reads 7 as 0 and would wrap
        days = sorted({day % 7 for day in range(low, high + 1, int(by[1:] or 1))})
        return ",".join(str(day) for day in days)
    return f"{low}-{high}{by}"


def _special_weekday(word: Word) -> str | None:
    if (match := _LAST_WEEKDAY.fullmatch(word.text)) and match[1] != "w":
        return f"L{_value(WEEKDAY, word, match[1]) % 7}"
    if match := _NTH_WEEKDAY.fullmatch(word.text):
        if match[2] not in tuple("12345"):
            raise _wrong(WEEKDAY, word.start, say(_("after # stands 1 to 5, as in “5#2”, the second Friday.")))
        return f"{_value(WEEKDAY, word, match[1]) % 7}#{match[2]}"
    return None


def _value(field: Field, word: Word, token: str) -> int:
    """Return the number of a value that is a number or a name within the field's bounds."""
    if token in field.names:
        return field.names.index(token) + (1 if field is MONTH else 0)
    if not token.isdigit():
        raise _wrong(field, word.start, _why_no_item(field, word.text))
    number = int(token) if len(token) <= 4 else field.high + 1
    if not field.low <= number <= field.high:
        problem = say(
            _("“%(token)s” is not between %(low)d and %(high)d."),
            token=shorten(token),
            low=field.low,
            high=field.high,
        )
        raise _wrong(field, word.start, problem)
    return number


def _step(field: Field, word: Word, token: str) -> int:
    if not token.isdigit() or len(token) > 4 or int(token) == 0:
        problem = say(_("after / stands a step from 1 to 9999, not “%(token)s”."), token=shorten(token))
        raise _wrong(field, word.start, problem)
    return int(token)


def _wrapping(field: Field, first: str, last: str) -> str:
    if field is WEEKDAY and last in ("sun", "0"):
        instead = f"{first}-7"
    else:
        instead = f"{first}-{6 if field is WEEKDAY else field.high},{field.low}-{last}"
    return say(
        _("the range “%(first)s-%(last)s” runs backwards; write “%(instead)s”."),
        first=first,
        last=last,
        instead=instead,
    )


def _why_no_item(field: Field, text: str) -> str:
    """Return what is wrong with an item that follows no rule, with a hint for what other crons know."""
    if text == "":
        return say(_("there is nothing before, after or between the commas."))
    if "?" in text:
        return say(_("“?” is not known here; write “*”."))
    if re.fullmatch(r"(h|r)([(/].*)?", text):
        return say(_("“H” and “R” (a random value) are not known; choose a value, and spread jobs by their jitter."))
    if re.fullmatch(r"\d+w|w\d+|lw", text):
        return say(_("“W” (the nearest working day) is not known; choose a day of the month or of the week."))
    if re.fullmatch(r"l.*|\w+#.*|\d+l", text):
        return say(
            _("“%(item)s” is not known here; “L” is a day of the month, “L5” and “5#2” are days of the week."),
            item=shorten(text),
        )
    names = f", {field.names[0]}-{field.names[-1]}" if field.names else ""
    return say(
        _("“%(item)s” is no value (%(low)d-%(high)d%(names)s), range “a-b”, “*”, or one of these with “/step”."),
        item=shorten(text),
        low=field.low,
        high=field.high,
        names=names,
    )


def _check_days(words: list[Word], fields: list[str]) -> None:
    """Refuse L and # beside a restricted other day field: crons do not agree on what that means."""
    for field, this, other in ((DAY, 2, 4), (WEEKDAY, 4, 2)):
        if ("L" in fields[this] or "#" in fields[this]) and fields[other] != "*":
            raise _wrong(
                field, words[this].start, say(_("“L” and “#” are allowed only where the other day field is “*”."))
            )
