"""Whether a draft looks bad by signs that cost nothing: refused, too short, in another language, unsure of itself.

Suspicion is no judgement: it only says which drafts are worth asking a better arm for. So every sign leans to silence
where it cannot tell: languages are compared only where both texts are plainly in one of those known here.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Literal, NamedTuple

Sign = Literal["refusal", "too_short", "wrong_language", "low_self_score"]

# A refusal opens a reply, after a greeting at most; further down the same words are about the customer's case.
OPENING_CHARACTERS = 300
# Under half the ticket's length and under 60 characters (a sentence): the shortest reply that greets and answers is longer.
# A thank-you of ten characters may be answered in eight.
SHORT_CHARACTERS, SHORT_SHARE = 60, 0.5
# Function words are a third of a text or more: two in a ticket and four in a draft are a dozen words and a sentence or two,
# and twice the runner-up leaves out mixed texts and cousins (Spanish and Portuguese share a third of these words).
TICKET_WORDS, DRAFT_WORDS, CLEARLY = 2, 4, 2.0
SCRIPT_LETTERS, SCRIPT_SHARE = 4, 0.5
READ_CHARACTERS = 1_500  # of each text: a language shows in two hundred words, and looking takes the service's own time
LOW_SCORE = 0.5  # under an even chance by its own word


class Drafted(NamedTuple):
    """A draft as the signs see it. Shapes: `is_refused` is the provider's own word for it, `is_cut` that a bound ended it."""

    text: str
    is_refused: bool = False
    is_cut: bool = False


_WHO = r"(?:i|we)(?: am|'m|'re| are)?"
_REFUSALS = re.compile(
    "|".join(
        (
            # English
            rf"\b{_WHO} (?:(?:really |very )?sorry,? but {_WHO} )?(?:can't|cannot|can not|won't|will not|unable to|not able to) "
            r"(?:help|assist)(?: you)? (?:with|in) (?:that|this|your request|such)",
            r"\bi (?:can't|cannot|can not|won't|am unable to|'m unable to) (?:comply|fulfil+|respond to|answer (?:that|this)|"
            r"(?:discuss|engage with) (?:that|this))",
            r"\bi'm unable to (?:comply|fulfil+|respond to|answer (?:that|this))",
            r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b",
            # German
            r"\bals (?:eine? )?(?:ki|künstliche intelligenz|(?:großes )?sprachmodell)\b",
            r"\bich (?:kann|darf) (?:ihnen |dir )?(?:leider )?(?:dabei|damit|hierbei|bei dieser anfrage) (?:leider )?nicht "
            r"(?:weiter)?(?:helfen|behilflich sein)",
            r"\b(?:dabei|damit|hierbei) (?:kann|darf) ich (?:ihnen |dir )?(?:leider )?nicht (?:weiter)?helfen",
            r"\b(?:diese anfrage|das) (?:kann|darf) ich (?:leider )?nicht (?:beantworten|bearbeiten)",
            # French
            r"\ben tant qu(?:'|e )(?:ia|intelligence artificielle|modèle (?:de langage|linguistique))\b",
            r"\bje ne (?:peux|suis) pas (?:en mesure de )?(?:(?:vous|t')? ?)(?:aider|assister|répondre à) "
            r"(?:avec cela|à ce sujet|cette demande|avec cette demande|pour cela)",
            # Spanish
            r"\bcomo (?:una )?(?:ia|inteligencia artificial|modelo de lenguaje)\b",
            r"\bno puedo (?:ayudar(?:te|le|lo|la)? (?:con|en) (?:eso|esto|esa|esta)|responder a (?:eso|esa|esta))",
            # Italian
            r"\bin quanto (?:ia|intelligenza artificiale|modello linguistico)\b",
            r"\bnon posso (?:aiutar(?:ti|la|vi) con (?:questo|questa|ciò)|rispondere a (?:questo|questa))",
            # Portuguese
            r"\bcomo (?:uma )?(?:ia|inteligência artificial)\b|\bcomo (?:um )?modelo de linguagem\b",
            r"\bnão posso (?:ajudar(?:-lo|-la|-te)? com (?:isso|isto|esse|essa)|responder a (?:isso|essa|esse))",
            # Dutch
            r"\bals (?:een )?(?:ai|taalmodel|kunstmatige intelligentie)\b",
            r"\bik kan (?:u |je )?(?:hier|daar)(?:mee|bij) (?:helaas )?niet helpen",
            # Polish
            r"\bjako (?:model językowy|sztuczna inteligencja|ai)\b",
            r"\bnie mogę (?:(?:ci|panu|pani|państwu) )?(?:w tym )?pomóc (?:w tej|z tą|w tym)|\bnie mogę (?:ci |panu |pani )?w tym pomóc",
        )
    )
)

_WORDS = {
    "en": "the and is are was were to of in for my your you it that this with have has not what when where how why but from "
    "will would please there they been which can our we",
    "de": "der die das und ist nicht ich sie wir ihr ein eine einen einer mit von zu zum zur auf für dem den des wie warum "
    "wann wo aber auch noch wurde haben habe hat sind bei kann können bitte meine mein ihre ihren",
    "fr": "le la les et est une des du pas que qui pour vous nous je mon ma mes votre vos dans avec sur ce cette il elle ont "
    "avez ai été mais comment pourquoi quand où au aux",
    "es": "el la los las y es una del que no para por con mi su sus usted en se lo ha han pero cómo cuándo dónde qué está "
    "están al como esta este ya tengo puedo",
    "it": "il lo la gli le e è una del della che non per con mio mia suo sua di in si ha ho ma come quando dove perché sono "
    "questo questa al alla dei nel",
    "pt": "o os as e é uma do da dos das que não para por com meu minha seu sua em se foi mas como quando onde está ao "
    "você isso este esta tenho posso no na",
    "nl": "de het een en is niet ik u je wij van voor met op te dat die mijn uw in aan maar hoe waarom wanneer waar ook nog "
    "wordt heeft heb zijn kan kunnen naar",
    "pl": "i w na nie jest się z do to że jak o po za ale czy dla przez od moja moje mój proszę można gdzie kiedy są był "
    "została został mogę",
}
_KNOWN = {name: frozenset(words.split()) for name, words in _WORDS.items()}
_WORD = re.compile(r"[^\W\d_]+")
# Texts in another script than Latin need no words. Kana alone tells Japanese, which writes Han characters as well.
_SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]"), 0.1),
    ("ko", re.compile(r"[\uac00-\ud7af]"), SCRIPT_SHARE),
    ("zh", re.compile(r"[\u4e00-\u9fff]"), SCRIPT_SHARE),
    ("cyrillic", re.compile(r"[\u0400-\u04ff]"), SCRIPT_SHARE),
    ("greek", re.compile(r"[\u0370-\u03ff]"), SCRIPT_SHARE),
    ("arabic", re.compile(r"[\u0600-\u06ff]"), SCRIPT_SHARE),
    ("hebrew", re.compile(r"[\u0590-\u05ff]"), SCRIPT_SHARE),
    ("devanagari", re.compile(r"[\u0900-\u097f]"), SCRIPT_SHARE),
    ("thai", re.compile(r"[\u0e00-\u0e7f]"), SCRIPT_SHARE),
)
_DENSE = frozenset(("ja", "ko", "zh"))
DENSE_CHARACTERS = 3  # of Latin text that one Han, kana or hangul character is worth
# Who is told which language to use, or asked for a translation, does not answer in the ticket's.
_NAMED_LANGUAGE = re.compile(
    r"\b(?:english|german|french|spanish|italian|portuguese|dutch|polish|translat\w*|language|"
    r"englisch\w*|deutsch\w*|französisch\w*|spanisch\w*|italienisch\w*|übersetz\w*|sprache|"
    r"anglais\w*|allemand\w*|français\w*|traduc\w*|tradui\w*|inglés|alemán|francés|español|inglese|tedesco|inglês|engels|duits)\b",
    re.IGNORECASE,
)
_SCORE_LINE = re.compile(
    r"(?:self[-_ ]?score|confidence|konfidenz|selbsteinschätzung)\W{1,6}(\d+(?:[.,]\d+)?)\s*(%|/\s*(?:10|100|5|1)\b)?\W*$",
    re.IGNORECASE,
)
_SCORE_KEYS = ("self_score", "confidence")


def signs_of(draft: Drafted, ticket: str, instructions: str = "") -> tuple[Sign, ...]:
    """What speaks against a draft, in the order of `Sign`; empty when nothing does.

    Shapes: `instructions` are all messages' texts; one that names a language or asks to translate is obeyed, not suspected.
    """
    text = draft.text.strip()
    found: list[Sign] = []
    if draft.is_refused or refuses(text):
        found.append("refusal")
    if not draft.is_cut and is_too_short(text, ticket):
        found.append("too_short")
    if is_in_another_language(text, ticket) and not _NAMED_LANGUAGE.search(f"{ticket}\n{instructions}"):
        found.append("wrong_language")
    score = self_score(text)
    if score is not None and score < LOW_SCORE:
        found.append("low_self_score")
    return tuple(found)


def refuses(text: str) -> bool:
    """Whether a reply opens by saying that its writer, not the house, cannot answer."""
    opening = " ".join(text[:OPENING_CHARACTERS].lower().replace("\u2019", "'").split())
    return _REFUSALS.search(opening) is not None


def is_too_short(text: str, ticket: str) -> bool:
    """Whether nothing much was said. Nothing at all always is too short."""
    if len(text) >= SHORT_CHARACTERS:
        return False
    size = _length(text)
    return size == 0 or size < min(SHORT_CHARACTERS, SHORT_SHARE * _length(ticket[:READ_CHARACTERS].strip()))


def is_in_another_language(text: str, ticket: str) -> bool:
    """Whether both texts are plainly in a known language, and not the same one."""
    asked, answered = language_of(ticket, TICKET_WORDS), language_of(text, DRAFT_WORDS)
    return asked is not None and answered is not None and asked != answered


def language_of(text: str, words_at_least: int = DRAFT_WORDS) -> str | None:
    """A text's language or, where no words are needed, its script; None where it cannot be told cheaply."""
    text = text[:READ_CHARACTERS]
    letters = sum(map(str.isalpha, text))
    for name, letter, share in _SCRIPTS:
        count = len(letter.findall(text))
        if count >= SCRIPT_LETTERS and count >= share * letters:
            return name
    counts: Counter[str] = Counter()
    for word in _WORD.findall(text.lower()):
        counts.update(name for name, known in _KNOWN.items() if word in known)
    ranked = counts.most_common(2)
    if not ranked or ranked[0][1] < words_at_least:
        return None
    if len(ranked) > 1 and ranked[0][1] < CLEARLY * ranked[1][1]:
        return None
    return ranked[0][0]


def self_score(text: str) -> float | None:
    """What a draft says of itself, 0 to 1: a key of its JSON object or its last line; None where it says nothing."""
    if text.startswith("{"):
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            return None
        for key in _SCORE_KEYS:
            value = said.get(key) if isinstance(said, dict) else None
            if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
                return float(value)
        return None
    line = text.rpartition("\n")[2][:200]
    found = _SCORE_LINE.search(line)
    if found is None:
        return None
    unit = (found[2] or "").replace(" ", "")
    score = float(found[1].replace(",", ".")) / (100.0 if unit == "%" else float(unit[1:]) if unit else 1.0)
    return score if score <= 1.0 else None


def _length(text: str) -> int:
    dense = sum(len(letter.findall(text)) for name, letter, _ in _SCRIPTS if name in _DENSE)
    return len(text) + (DENSE_CHARACTERS - 1) * dense
