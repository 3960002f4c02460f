"""What a call is expected to cost, per arm, before it is made.

Output tokens are a straight line in the prompt's tokens, learned from settled calls; what calls really
cost over what the line said corrects the rest (cache hits, tool calls, a price book that lags). Prices are
taken as they stand, so a new list price moves the expectation at once.

Floats in USD: these are expectations for choosing an arm. What is charged and held is exact, in the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass

# A reply of an ordinary length, worth 20 calls, until settled calls say otherwise.
PRIOR_OUTPUT_TOKENS = 400.0
PRIOR_CALLS = 20.0
PRIOR_PROMPT_SD = 200.0  # spread of prompts at which the prior's flat line is worth those calls
# About a week of calls of one arm: follows a model that grows wordier, averages over lengths of replies.
MEMORY_CALLS = 1000.0
RATIO_LIMITS = (0.2, 5.0)


@dataclass(frozen=True, slots=True)
class ArmPrice:
    """List price in USD per million tokens."""

    input_usd_per_mtok: float
    output_usd_per_mtok: float


@dataclass(slots=True)
class ArmCost:
    """One arm's settled calls as discounted sums, and the line they give."""

    calls: int = 0
    weight: float = 0.0
    sum_prompt: float = 0.0
    sum_output: float = 0.0
    sum_prompt_prompt: float = 0.0
    sum_prompt_output: float = 0.0
    actual_usd: float = 0.0  # discounted, beside what the line expected of the same calls
    expected_usd: float = 0.0
    intercept: float = PRIOR_OUTPUT_TOKENS
    slope: float = 0.0
    ratio: float = 1.0


def expected_usd(arm: ArmCost, prompt_tokens: float, price: ArmPrice) -> float:
    """Expected cost of one call in USD at list price, corrected by what calls of this arm really cost."""
    output = max(arm.intercept + arm.slope * prompt_tokens, 1.0)
    tokens_usd = prompt_tokens * price.input_usd_per_mtok + output * price.output_usd_per_mtok
    return tokens_usd * arm.ratio * 1e-6


def settled(arm: ArmCost, prompt_tokens: float, output_tokens: float, cost_usd: float, price: ArmPrice) -> None:
    """Fold one settled call in. `price` is the one in force when the call began."""
    keep = 1.0 - 1.0 / MEMORY_CALLS
    arm.calls += 1
    arm.weight = arm.weight * keep + 1.0
    arm.sum_prompt = arm.sum_prompt * keep + prompt_tokens
    arm.sum_output = arm.sum_output * keep + output_tokens
    arm.sum_prompt_prompt = arm.sum_prompt_prompt * keep + prompt_tokens * prompt_tokens
    arm.sum_prompt_output = arm.sum_prompt_output * keep + prompt_tokens * output_tokens
    list_usd = (prompt_tokens * price.input_usd_per_mtok + output_tokens * price.output_usd_per_mtok) * 1e-6
    arm.actual_usd = arm.actual_usd * keep + cost_usd
    arm.expected_usd = arm.expected_usd * keep + list_usd


def doubt(arm: ArmCost) -> None:
    """What was learned weighs no more than the prior from now on; the expectation itself stays."""
    if arm.weight <= PRIOR_CALLS:
        return
    share = PRIOR_CALLS / arm.weight
    arm.weight *= share
    arm.sum_prompt *= share
    arm.sum_output *= share
    arm.sum_prompt_prompt *= share
    arm.sum_prompt_output *= share
    arm.actual_usd *= share
    arm.expected_usd *= share


def solve(arm: ArmCost) -> None:
    """Recompute the line and the ratio from the sums."""
    if not arm.weight:
        return
    count = arm.weight + PRIOR_CALLS
    mean_prompt = arm.sum_prompt / arm.weight
    mean_output = (arm.sum_output + PRIOR_CALLS * PRIOR_OUTPUT_TOKENS) / count
    across = arm.sum_prompt_output - mean_prompt * arm.sum_output
    spread = arm.sum_prompt_prompt - mean_prompt * arm.sum_prompt + PRIOR_CALLS * PRIOR_PROMPT_SD**2
    arm.slope = across / spread
    arm.intercept = mean_output - arm.slope * mean_prompt
    # a call's tokens at list price are known exactly, so the ratio only sees what the list does not say
    prior = PRIOR_CALLS * (arm.expected_usd / arm.weight)
    if arm.expected_usd > 0.0:
        ratio = (arm.actual_usd + prior) / (arm.expected_usd + prior)
        arm.ratio = min(max(ratio, RATIO_LIMITS[0]), RATIO_LIMITS[1])
