"""Cheap signs of a bad draft: what is suspected and, as important, what is not."""

from __future__ import annotations

import pytest

from router.second_look import Drafted, is_too_short, language_of, refuses, self_score, signs_of

ENGLISH = "My card was declined at the supermarket and I do not know why. Can you tell me what to do with it?"
GERMAN = "Meine Karte wurde im Supermarkt abgelehnt und ich weiß nicht, warum. Was kann ich jetzt noch machen?"
ENGLISH_DRAFT = (
    "Thank you for your message. The card was locked because the PIN was entered three times, and you can unlock it "
    "in the app under Card. If that does not help, write to us and we will send a new one."
)
GERMAN_DRAFT = (
    "Vielen Dank für Ihre Nachricht. Die Karte wurde gesperrt, weil die PIN dreimal falsch eingegeben wurde. Sie können "
    "sie in der App unter Karte entsperren. Wenn das nicht hilft, schicken wir Ihnen eine neue."
)
FRENCH_DRAFT = (
    "Merci pour votre message. La carte est bloquée car le code a été saisi trois fois, et vous pouvez la débloquer dans "
    "l'application. Si cela ne suffit pas, nous vous enverrons une nouvelle carte avec les instructions."
)


@pytest.mark.parametrize(
    "opening",
    [
        "I'm sorry, but I can't help with that.",
        "I\u2019m sorry, but I can\u2019t assist with this request.",
        "Sorry, I cannot comply with this request.",
        "As an AI language model, I do not have access to your account.",
        "Hello,\n\nI am unable to\nanswer that.",
        "Es tut mir leid, aber dabei kann ich Ihnen leider nicht helfen.",
        "Leider kann ich das nicht sagen: als KI habe ich keinen Zugriff.",
        "Ich kann Ihnen hierbei leider nicht weiterhelfen.",
        "Diese Anfrage kann ich leider nicht beantworten.",
        "En tant qu'IA, je n'ai pas accès à votre compte.",
        "Je ne peux pas vous aider avec cette demande.",
        "Lo siento, pero no puedo ayudarte con eso.",
        "Mi dispiace, non posso aiutarti con questo.",
        "Como modelo de linguagem, não tenho acesso.",
        "Helaas, ik kan u hiermee niet helpen.",
        "Jako model językowy nie mam dostępu.",
    ],
)
def test_a_reply_that_opens_with_a_refusal_is_suspected(opening: str):
    assert refuses(opening)


@pytest.mark.parametrize(
    "draft",
    [
        "We cannot refund this fee, since the transfer was already booked.",
        "I can't find the transfer in your account yet, so please send the reference.",
        "I can help with that: open the app and unlock the card.",
        "We are unable to cancel the payment from here; the merchant has confirmed it.",
        "Sie können die Karte nicht am selben Tag ersetzen.",
        "Leider können wir die Gebühr nicht erstatten.",
        "Vous ne pouvez pas annuler ce virement.",
        "No puedo ver el pago todavía, pero llegará mañana.",
        ENGLISH_DRAFT,
        GERMAN_DRAFT,
        # Further down it is the case that is spoken of.
        ENGLISH_DRAFT + " " + ENGLISH_DRAFT + " I can't help with that.",
    ],
)
def test_a_refusal_by_the_house_is_an_answer(draft: str):
    assert not refuses(draft)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (ENGLISH_DRAFT, "en"),
        (GERMAN_DRAFT, "de"),
        (FRENCH_DRAFT, "fr"),
        ("Gracias por su mensaje. La tarjeta está bloqueada y usted puede activarla en la app con su PIN.", "es"),
        ("La carta è stata bloccata e il PIN non è più valido; lo può cambiare con la app, come sempre, dal suo conto.", "it"),
        ("O seu cartão foi bloqueado e não está ativo; você pode desbloquear na app, mas o código não muda.", "pt"),
        ("De kaart is geblokkeerd en u kan het zelf in de app wijzigen; wij hebben het voor u nagekeken.", "nl"),
        ("Karta jest zablokowana i nie można jej użyć; proszę sprawdzić w aplikacji, czy PIN jest do niej.", "pl"),
        ("Ваша карта заблокирована.", "cyrillic"),
        ("カードがロックされています。", "ja"),
        ("您的卡已被锁定，请联系我们。", "zh"),
        ("카드가 잠겼습니다.", "ko"),
        ("", None),
        ("PIN 1234, IBAN DE02 1203", None),
        ("OK. Visa Mastercard Paypal.", None),
    ],
)  # fmt: skip
def test_a_language_is_told_by_its_small_words_or_its_script(text: str, language: str | None):
    assert language_of(text) == language


@pytest.mark.parametrize(
    ("ticket", "draft", "is_wrong"),
    [
        (ENGLISH, ENGLISH_DRAFT, False),
        (GERMAN, GERMAN_DRAFT, False),
        (GERMAN, ENGLISH_DRAFT, True),
        (ENGLISH, GERMAN_DRAFT, True),
        (ENGLISH, FRENCH_DRAFT, True),
        ("私のカードが使えません。助けてください。", ENGLISH_DRAFT, True),
        ("Card declined???", GERMAN_DRAFT, False),  # too few words to tell
        (GERMAN + " Please answer in English.", ENGLISH_DRAFT, False),
        (GERMAN + " Bitte auf Englisch antworten.", ENGLISH_DRAFT, False),
    ],
)
def test_a_draft_in_another_language_than_the_tickets_is_suspected(ticket: str, draft: str, is_wrong: bool):
    assert ("wrong_language" in signs_of(Drafted(draft), ticket)) is is_wrong


def test_an_instruction_that_names_the_language_is_obeyed_not_suspected():
    assert signs_of(Drafted(ENGLISH_DRAFT), GERMAN, "Always answer in English.") == ()
    assert signs_of(Drafted(ENGLISH_DRAFT), GERMAN, "You draft replies for a bank.") == ("wrong_language",)


@pytest.mark.parametrize(
    ("ticket", "draft", "is_short"),
    [
        (ENGLISH, "", True),
        (ENGLISH, "Please wait.", True),
        (ENGLISH, "x" * 48, True),  # the ticket has 98 characters, half of them are 49
        (ENGLISH, "x" * 49, False),
        ("x" * 1000, "y" * 59, True),
        ("x" * 1000, "y" * 60, False),
        ("Thanks, bye!", "You're welcome!", False),
        ("Danke!", "Gern!", False),
        ("", "", True),
        (
            ENGLISH,
            "您的卡已被锁定，请在应用中解锁它，谢谢您。",
            False,
        ),  # twenty Han characters say what sixty letters do
    ],
)
def test_a_draft_is_too_short_beside_its_ticket(ticket: str, draft: str, is_short: bool):
    assert is_too_short(draft, ticket) is is_short


def test_a_draft_that_a_bound_cut_is_not_too_short():
    assert signs_of(Drafted("Please", is_cut=True), ENGLISH) == ()
    assert signs_of(Drafted("Please"), ENGLISH) == ("too_short",)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ('{"draft": "Hello", "confidence": 0.3}', 0.3),
        ('{"draft": "Hello", "self_score": 1}', 1.0),
        ('{"draft": "Hello", "confidence": true}', None),
        ('{"draft": "Hello", "confidence": 7}', None),
        ("{broken", None),
        ("Hello.\nConfidence: 0.4", 0.4),
        ("Hallo.\nSelbsteinschätzung: 0,35", 0.35),
        ("Hello.\nSelf-score: 4/10", 0.4),
        ("Hello.\nconfidence = 85 %", 0.85),
        ("Hello.\nConfidence: 4", None),  # of how many, nobody knows
        ("Our confidence in the merchant is 0.2 lower.", None),
        (ENGLISH_DRAFT, None),
    ],
)
def test_a_score_is_read_only_where_a_draft_plainly_gives_one(text: str, score: float | None):
    assert self_score(text) == (None if score is None else pytest.approx(score))


def test_a_low_score_is_a_sign_and_several_signs_come_in_order():
    assert signs_of(Drafted(ENGLISH_DRAFT + "\nConfidence: 0.49"), ENGLISH) == ("low_self_score",)
    assert signs_of(Drafted(ENGLISH_DRAFT + "\nConfidence: 0.5"), ENGLISH) == ()
    assert signs_of(Drafted("", is_refused=True), ENGLISH) == ("refusal", "too_short")
