"""What a month costs by the provider's own log alone: plain integers, prices copied by hand, nothing of ours imported.

    python tests/provider_totals.py provider.jsonl

Prints calls, tokens and the cost in picodollars (1e-12 USD) and, with the point put in, in USD.
"""

import json
import sys

# Picodollars a token, in and out; 0.40 USD per million tokens are 400,000 picodollars a token. No provider in
# the table states a discount, so a cached token costs what any input token costs.
PRICES = {
    "mistralai/Mistral-Medium-3": (400_000, 2_000_000),
    "deepseek-ai/DeepSeek-V4-Flash": (270_000, 1_100_000),
    "deepseek-ai/DeepSeek-V4-Pro": (550_000, 2_200_000),
    "Qwen/Qwen3-32B": (300_000, 1_200_000),
    "zai-org/GLM-4-Plus": (200_000, 800_000),
    "openai/gpt-4o": (2_500_000, 10_000_000),
}
LARGE = "mistralai/Mistral-Large-3"
LARGE_CHANGED_ON = "2025-12-02"
LARGE_BEFORE, LARGE_AFTER = (2_000_000, 6_000_000), (500_000, 1_500_000)
GPT_4O = PRICES["openai/gpt-4o"]


def totals(lines):
    """The sums over the lines of a log; a request billed twice is an error."""
    calls = tokens_in = cached = tokens_out = cost = baseline = 0
    seen = set()
    for line in lines:
        row = json.loads(line)
        if row["request_id"] in seen:
            raise SystemExit(f"{row['request_id']} is billed twice")
        seen.add(row["request_id"])
        if row["model"] == LARGE:
            rate_in, rate_out = LARGE_BEFORE if row["time"] < LARGE_CHANGED_ON else LARGE_AFTER
        else:
            rate_in, rate_out = PRICES[row["model"]]
        calls += 1
        tokens_in += row["prompt_tokens"]
        cached += row["cached_tokens"]
        tokens_out += row["completion_tokens"]
        cost += row["prompt_tokens"] * rate_in + row["completion_tokens"] * rate_out
        baseline += row["prompt_tokens"] * GPT_4O[0] + row["completion_tokens"] * GPT_4O[1]
    return {
        "calls": calls,
        "input_tokens": tokens_in,
        "cached_tokens": cached,
        "output_tokens": tokens_out,
        "cost_usd": in_dollars(cost),
        "baseline_usd": in_dollars(baseline),
    }


def in_dollars(pico):
    """The same number with its point: 12 places, zeros at the end left out."""
    whole, rest = divmod(pico, 10**12)
    return f"{whole}.{rest:012d}".rstrip("0").rstrip(".")


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as log:
        print(json.dumps(totals(log)))
