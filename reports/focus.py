"""The month as a FOCUS 1.2 file, the cloud cost trade's own table, so that tools for bills can read it.

One row is one line item: a day, a model, a kind of token, a price. The baseline is no credit and stands in columns of our
own (`x_`), after all of FOCUS. Amounts are exact: unit price times quantity is the cost to the last digit, and a cost
that no count of tokens explains is an Adjustment without quantity.
Source: FOCUS 1.2, ratified 2025-05-29; which columns and why: reports/README.md, "Decisions".
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from decimal import Decimal
from typing import NamedTuple

from ledger.budgets import period_named, zone
from ledger.money import TOKENS_PER_PRICE, ZERO, round_half_up, text
from reports.figures import Currency
from reports.items import Item
from reports.model import Adjustment, Price, Report
from reports.pictures import currency
from reports.tables import plain

PRICING_UNIT = "1000000 Tokens"
UNIT_PLACES = 12  # decimals of a unit price in the billing currency
MAKERS = {
    "deepseek-ai": "DeepSeek",
    "Qwen": "Alibaba Cloud",
    "openai": "OpenAI",
    "mistralai": "Mistral AI",
    "zai-org": "Zhipu AI",
}
_TIERS = {"cache_read": "cached", "cache_write": "cache-write", "reasoning": "reasoning"}
EMPTY = (  # of FOCUS, and true of no call: nothing is committed to, and a model has no region and is no resource of ours
    *("CommitmentDiscountCategory", "CommitmentDiscountId", "CommitmentDiscountName", "CommitmentDiscountStatus"),
    *("CommitmentDiscountType", "RegionId", "RegionName", "ResourceId", "ResourceName", "ResourceType"),
)
COLUMNS = (
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType", "BillingCurrency"),
    *(
        "BillingPeriodEnd",
        "BillingPeriodStart",
        "ChargeCategory",
        "ChargeClass",
        "ChargeDescription",
        "ChargeFrequency",
    ),
    *(
        "ChargePeriodEnd",
        "ChargePeriodStart",
        *EMPTY[:5],
        "ConsumedQuantity",
        "ConsumedUnit",
        "ContractedCost",
        "ContractedUnitPrice",
    ),
    *("EffectiveCost", "InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory", "PricingCurrency"),
    *("PricingCurrencyContractedUnitPrice", "PricingCurrencyEffectiveCost", "PricingCurrencyListUnitPrice"),
    *("PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", *EMPTY[5:], "ServiceCategory", "ServiceName"),
    *("ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId", "SubAccountId", "SubAccountName"),
    *("SubAccountType", "Tags"),
    *("x_BaselineModel", "x_BaselineCost", "x_PriceId", "x_FxRate", "x_FxRateDate", "x_RequestCount"),
    *("x_RequestedModel", "x_Purpose", "x_LineItem"),
)


class _Charge(NamedTuple):
    """A row's money. Units: `usd_price` USD per PricingUnit, `price` the billing currency's; absent without a quantity."""

    usd: Decimal
    billed: Decimal
    tokens: int | None
    usd_price: Decimal | None
    price: Decimal | None


def as_focus(report: Report, items: tuple[Item, ...]) -> bytes:
    """CSV, UTF-8, one header line; one row an item, two when tokens times rate is not its cost.

    Units: costs in the report's currency, unrounded; PricingCurrency* in USD; moments UTC, ends exclusive.
    """
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    money = currency(report)
    prices = {price.price_id: price for price in report.prices}
    for item in items:
        for charge in _charges(item, money):
            writer.writerow(_row(report, item, prices.get(item.key.price_id), charge))
    provider = _provider(report)
    writer.writerows(_correction(report, one, provider, money) for one in report.adjustments if Decimal(one.cost_usd))
    return out.getvalue().encode("utf-8")


def _charges(item: Item, money: Currency) -> list[_Charge]:
    found, rest = [], item.cost
    if item.rate is not None and item.tokens:
        price = unit_price(item.rate, money)
        usd = item.tokens * item.rate * TOKENS_PER_PRICE
        found.append(_Charge(usd, price * item.tokens * TOKENS_PER_PRICE, item.tokens, item.rate, price))
        rest -= usd
    if rest != ZERO:
        found.append(_Charge(rest, round_half_up(money.exact(rest), UNIT_PLACES), None, None, None))
    return found


def unit_price(usd_per_mtok: Decimal, money: Currency) -> Decimal:
    """A price in the billing currency, rounded once, so that it times the quantity is exactly the cost."""
    return round_half_up(money.exact(usd_per_mtok), UNIT_PLACES)


def _row(report: Report, item: Item, price: Price | None, charge: _Charge) -> dict[str, str]:
    key, is_usage = item.key, charge.tokens is not None
    provider = plain(price.provider if price is not None and price.provider else "unknown")
    meter = "Output Tokens" if key.bucket in ("plain_output", "reasoning") else "Input Tokens"
    sku = f"{provider}/{key.model}/{meter.lower().replace(' ', '-')}" if is_usage else ""
    billed = _plain(charge.billed)
    start, end = _day(key.date, report.client.zone)
    maker = key.model.partition("/")[0]
    return {
        "BilledCost": billed,
        "BillingAccountId": f"account/{provider}",
        "BillingAccountName": provider,
        "BillingAccountType": "API account",
        "BillingCurrency": report.currency.code,
        "BillingPeriodEnd": _moment(report.period.ends_at),
        "BillingPeriodStart": _moment(report.period.starts_at),
        "ChargeCategory": "Usage" if is_usage else "Adjustment",
        "ChargeClass": "",
        "ChargeDescription": plain(f"{key.model}: {key.bucket.replace('_', ' ')}, {key.purpose}"),
        "ChargeFrequency": "Usage-Based" if is_usage else "One-Time",
        "ChargePeriodEnd": end,
        "ChargePeriodStart": start,
        "ConsumedQuantity": _plain(charge.tokens),
        "ConsumedUnit": "Tokens" if is_usage else "",
        "ContractedCost": billed,
        "ContractedUnitPrice": _plain(charge.price),
        "EffectiveCost": billed,
        "InvoiceIssuerName": provider,
        "ListCost": billed,
        "ListUnitPrice": _plain(charge.price),
        "PricingCategory": "Standard" if is_usage else "",
        "PricingCurrency": "USD",
        "PricingCurrencyContractedUnitPrice": _plain(charge.usd_price),
        "PricingCurrencyEffectiveCost": _plain(charge.usd),
        "PricingCurrencyListUnitPrice": _plain(charge.usd_price),
        "PricingQuantity": "" if charge.tokens is None else _plain(charge.tokens * TOKENS_PER_PRICE),
        "PricingUnit": PRICING_UNIT if is_usage else "",
        "ProviderName": provider,
        "PublisherName": plain(MAKERS.get(maker, maker)),
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": f"{provider} Chat Completions",
        "ServiceSubcategory": "Generative AI",
        "SkuId": plain(sku),
        "SkuMeter": meter if is_usage else "",
        "SkuPriceDetails": _details(key.model, key.bucket) if is_usage else "",
        "SkuPriceId": plain(f"{sku}/{_TIERS.get(key.bucket, 'standard')}") if is_usage else "",
        "SubAccountId": f"client/{report.client.id}",
        "SubAccountName": plain(report.client.name),
        "SubAccountType": "Client",
        "Tags": json.dumps({"arm": key.arm, "purpose": key.purpose} if key.arm else {"purpose": key.purpose}),
        "x_BaselineModel": "" if report.baseline is None or item.baseline is None else plain(report.baseline.model),
        "x_BaselineCost": _plain(item.baseline) if is_usage else "",
        "x_PriceId": plain(key.price_id),
        "x_FxRate": report.currency.rate or "",
        "x_FxRateDate": ""
        if report.currency.rate_valid_from is None
        else f"{report.currency.rate_valid_from:%Y-%m-%d}",
        "x_RequestCount": str(item.calls),
        "x_RequestedModel": plain(key.request_model),
        "x_Purpose": key.purpose,
        "x_LineItem": plain(key.line),
    }


def _provider(report: Report) -> str:
    """Who served most of the month's calls; late facts are told by month and not by price."""
    served = max(report.prices, key=lambda price: (price.calls or 0, price.price_id), default=None)
    return plain(served.provider if served is not None and served.provider else "unknown")


def _correction(report: Report, one: Adjustment, provider: str, money: Currency) -> dict[str, str]:
    """What an earlier period, closed before, cost more: a Correction of that period, billed in this one."""
    period = period_named(one.period, report.client.zone)
    usd = Decimal(one.cost_usd)
    billed = _plain(round_half_up(money.exact(usd), UNIT_PLACES))
    return dict.fromkeys(COLUMNS, "") | {
        "BilledCost": billed,
        "BillingAccountId": f"account/{provider}",
        "BillingAccountName": provider,
        "BillingAccountType": "API account",
        "BillingCurrency": report.currency.code,
        "BillingPeriodEnd": _moment(report.period.ends_at),
        "BillingPeriodStart": _moment(report.period.starts_at),
        "ChargeCategory": "Adjustment",
        "ChargeClass": "Correction",
        "ChargeDescription": f"{one.period}: {one.facts} {one.kind.replace('_', ' ')} after its close",
        "ChargeFrequency": "One-Time",
        "ChargePeriodEnd": _moment(period.end),
        "ChargePeriodStart": _moment(period.start),
        "ContractedCost": billed,
        "EffectiveCost": billed,
        "InvoiceIssuerName": provider,
        "ListCost": billed,
        "PricingCurrency": "USD",
        "PricingCurrencyEffectiveCost": _plain(usd),
        "ProviderName": provider,
        "PublisherName": provider,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": f"{provider} Chat Completions",
        "ServiceSubcategory": "Generative AI",
        "SubAccountId": f"client/{report.client.id}",
        "SubAccountName": plain(report.client.name),
        "SubAccountType": "Client",
        "Tags": json.dumps({"adjustment": one.kind}),
        "x_FxRate": report.currency.rate or "",
        "x_RequestCount": str(one.facts),
        "x_LineItem": f"adjustment {one.period} {one.kind}",
    }


def _details(model: str, bucket: str) -> str:
    """What is priced, under names of our own until FOCUS 1.5 has them."""
    maker = model.partition("/")[0]
    return json.dumps({"x_ModelDeveloper": MAKERS.get(maker, maker), "x_ModelId": model, "x_TokenType": bucket})


def _day(date: dt.date, zone_name: str) -> tuple[str, str]:
    """A local day as UTC instants, its end exclusive."""
    local = zone(zone_name)
    edges = (dt.datetime.combine(date + dt.timedelta(days=n), dt.time(), local) for n in (0, 1))
    start, end = map(_moment, edges)
    return start, end


def _moment(moment: dt.datetime) -> str:
    return f"{moment.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def _plain(amount: Decimal | int | None) -> str:
    """Plain digits; whole amounts with one decimal too, since readers take a bare whole number for another type."""
    if amount is None:
        return ""
    written = text(Decimal(amount))
    return written if "." in written else f"{written}.0"
