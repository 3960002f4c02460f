"""Sentences a support desk writes, endlessly.

A simulated reply is some 17,000 characters long and there are thousands of them, so it is not composed: a long text
is made once from sentence patterns and seeded words, and each reply is a slice of it, cut at the end of a sentence.
All ASCII, so that characters are bytes.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache

from router.seeded import digest, pick, slot, unit

# Long enough that two replies of the usual length seldom overlap; short enough to be made in a tenth of a second.
PROSE_BYTES = 600_000

_PATTERNS = (
    "The {thing} has been {done} on our side, and you will see it under {menu} {soon}.",
    "Please open {menu} in the app and check whether the {thing} is shown as {state}.",
    "If the {thing} is still {state} {later}, write to us again and we will {act}.",
    "We looked at the {thing} together with {team}, and nothing in it suggests a mistake of yours.",
    "In most cases a {thing} that is {state} settles by itself within {days}.",
    "Until then the amount of {amount} is set aside and cannot be spent, but it is not lost.",
    "The {party} decides when the {thing} is released, so a short message to them often saves time.",
    "It helps to give them the reference under {menu}, since they can find the {thing} by it within minutes.",
    "Our records show that the {thing} was {done} {earlier}, and that no fee was taken for it.",
    "Should a fee of {amount} appear all the same, we will return it without any further question.",
    "You do not need to {avoid}; everything needed is already attached to your case.",
    "For your safety please never send us a {secret}, neither here nor by telephone.",
    "If you did not make this payment yourself, freeze the card first under {menu} and then report it there.",
    "A frozen card can be used again at any time, so there is no harm in being careful.",
    "The limit for this kind of {thing} is {amount} a day, and it is renewed at midnight in your own time zone.",
    "You can lower that limit at once, while raising it takes effect after {days}.",
    "As the {party} has already confirmed the {thing}, we cannot cancel it from here.",
    "What we can do is {act}, and we have started that {earlier}.",
    "You will get a message in the app as soon as the {party} has answered, at the latest after {days}.",
    "The rate is the one of the day on which the {thing} was booked, which explains the difference of {amount}.",
    "On weekends a small margin is added, and the app shows it before you confirm.",
    "Please compare the address under {menu} with the one you expect the letter at.",
    "Letters are plain and carry no sender, so they are easily overlooked among other mail.",
    "A replacement is free in this case and can be ordered under {menu} in less than a minute.",
    "The virtual card works straight away, both online and on your phone.",
    "Your PIN stays the same, and you can see it under {menu} after entering your passcode.",
    "One payment with the chip and the PIN switches contactless payments on again.",
    "We have asked {team} to {act}, and they usually answer within {days}.",
    "If you have the receipt, keep it; we will only ask for it if the {party} disagrees.",
    "Some merchants trade under another name than the one on their door, so the details page is worth a look.",
    "There you find the legal name of the {party}, the town and the number of the {thing}.",
    "A transfer that fails comes back in full, together with anything that was charged for it.",
    "Banks other than ours may need until the evening of the next working day to show it.",
    "The confirmation under {menu} carries everything the other bank needs to trace the {thing}.",
    "We checked the number you entered, and it has the right form, so a typing error is unlikely.",
    "The name of the account holder did not match, which is why the {thing} was {state}.",
    "You may try again now; a second attempt is not counted against your limit.",
    "If it fails again, tell us the time to the minute and the text of the message you see.",
    "The check of your documents is finished as soon as {team} has seen the last page.",
    "A photograph of the original in daylight works best, with all four corners visible.",
    "Pages that concern other people may be covered, as long as your name and the date can be read.",
    "Card payments and incoming money are not affected while we check.",
    "We know that this is tedious, and we ask for it only because the law requires it of every account.",
    "Nothing has to be done about the {thing} that was {done} {earlier}.",
    "The second entry is a reservation, and it will lapse without any action within {days}.",
    "If both entries are booked after {days}, report the second one under {menu}.",
    "We would then credit {amount} provisionally while the {party} looks into it.",
    "The {party} has up to {days} to answer, and you will see the outcome in the app.",
    "You can follow each step under {menu}, where the case is listed with its number.",
    "Statements of earlier months stay available there for ten years.",
    "The app has to be at least version 6.2 for this page to be shown in full.",
    "After the update please sign in once with your passcode instead of your fingerprint.",
    "If you have changed your telephone in the meantime, the old one is signed out by itself.",
    "A direct debit that you did not agree to can be returned for thirteen months.",
    "Returning it does not end the contract with the {party}, so a short notice to them is sensible.",
    "We have noted that you would like an answer by {soon} and will keep to it.",
    "The amount that was wrong by {amount} has been corrected and dated back to the original day.",
    "Interest was recalculated for the days in between, so you are not worse off.",
    "Your points for this purchase appear once the {thing} has been booked.",
    "If a question remains open, reply to this message and it will reach the same person.",
)  # fmt: skip
_WORDS = {
    "thing": (
        "payment", "transfer", "top-up", "refund", "withdrawal", "direct debit", "card order", "exchange", "deposit",
        "reservation", "standing order", "verification",
    ),
    "done": ("booked", "released", "confirmed", "sent on", "checked", "corrected", "registered"),
    "menu": (
        "Activity > Details", "Card > Security", "Card > Limits", "Account > Details", "Profile > Personal details",
        "Activity > Report a problem", "Add money > Transfer", "Help > My cases", "Card > Delivery",
    ),
    "soon": ("tomorrow morning", "the end of today", "noon on the next working day", "Friday", "the day after tomorrow"),
    "state": ("pending", "declined", "on hold", "reverted", "not yet booked", "under review"),
    "later": ("tomorrow", "after the weekend", "in three working days", "at the end of the week", "a week from now"),
    "act": (
        "open a trace with the other bank", "ask the merchant in writing", "credit the difference", "send a new card",
        "have the entry checked by hand", "lift the lock", "open a dispute for you",
    ),
    "team": ("our payments desk", "the card network", "our verification team", "the cash desk", "the second level"),
    "days": ("one working day", "two working days", "3 to 5 working days", "7 days", "24 hours", "ten working days"),
    "party": ("merchant", "other bank", "shop", "hotel", "airline", "company", "owner of the cash machine"),
    "amount": (
        "12.40 EUR", "3.00 EUR", "250.00 EUR", "18.95 EUR", "1,000 EUR", "64.20 EUR", "0.80 EUR", "119.00 EUR",
        "42.17 EUR", "500 EUR",
    ),
    "earlier": ("yesterday", "this morning", "on Monday", "two days ago", "last Thursday", "on the day of your message"),
    "avoid": ("send the documents again", "order another card", "call the merchant twice", "change your passcode"),
    "secret": ("full card number", "PIN", "passcode", "one-time code"),
}  # fmt: skip
_OPENINGS = (
    'Hello,\n\nthank you for your message about "{topic}". ',
    'Hello,\n\nyou wrote to us: "{topic}". Here is where things stand. ',
    'Good day,\n\nwe have looked into what you asked, "{topic}", and can tell you the following. ',
    'Hello and thank you for getting in touch about "{topic}". ',
    'Dear customer,\n\non your question "{topic}" first the short answer. ',
)  # fmt: skip
_TOPIC_CHARACTERS = 90


@dataclass(frozen=True, slots=True)
class Prose:
    """A long text and the offsets at which its sentences start."""

    text: str
    starts: tuple[int, ...]

    def passage(self, draw: float, length: int) -> str:
        """A slice that starts with a sentence and ends with one, about length characters long.

        Shapes: at most length characters, unless the first sentence alone is longer; less by half a sentence on
        average. Never more than half of the whole text.
        """
        length = min(length, len(self.text) // 2)
        last_start = bisect_left(self.starts, len(self.text) - length)
        first = pick(draw, max(last_start, 1))
        begin = self.starts[first]
        end = self.starts[max(bisect_right(self.starts, begin + length) - 1, first + 1)]
        return self.text[begin:end].rstrip()


def _sentence(material: bytes) -> str:
    pattern = _PATTERNS[pick(slot(material, 0), len(_PATTERNS))]
    position = 1
    for name, words in _WORDS.items():
        mark = "{" + name + "}"
        if mark in pattern:
            pattern = pattern.replace(mark, words[pick(slot(material, position), len(words))])
            position += 1
    return pattern


@lru_cache(maxsize=4)
def prose(seed: int) -> Prose:
    """The text replies of this seed are cut from, made once and kept.

    Shapes: ASCII; paragraphs of three to six sentences, an empty line between them.
    """
    pieces: list[str] = []
    starts: list[int] = []
    length = number = left = 0
    while length < PROSE_BYTES:
        material = digest("prose", seed, number)
        left = left - 1 if left > 0 else 2 + pick(slot(material, 7), 4)
        piece = _sentence(material) + (" " if left > 0 else "\n\n")
        pieces.append(piece)
        starts.append(length)
        length += len(piece)
        number += 1
    return Prose(text="".join(pieces), starts=tuple(starts))


def opening(seed: int, topic: str) -> str:
    """How a reply to this ticket begins: a greeting that quotes the first line of the ticket.

    Shapes: the quotation is at most 90 characters, white space collapsed, cut at a word.
    """
    words = " ".join(topic[: 4 * _TOPIC_CHARACTERS].split()).replace('"', "'")
    if len(words) > _TOPIC_CHARACTERS:
        words = words[:_TOPIC_CHARACTERS].rpartition(" ")[0] or words[:_TOPIC_CHARACTERS]
    if not words:
        words = "your request"
    return _OPENINGS[pick(unit("opening", seed, topic), len(_OPENINGS))].format(topic=words)
