"""Other pools and months for the budget-month benchmark than those it is developed with, of the same kind.

Pairs of models whose replies are recorded in the benchmark's own data but which it does not play, and the arrivals of
arrivals.py. Prices are list prices of the kind of model, USD per million tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import arrivals

# In the order they are played: quiet, wild and mixed ones alternate, so that five months have some of each.
ORDER = ("taxi 1", "UPS turned", "AAPL+IBM", "GOOG turned", "CVS+GOOG", "taxi 2", "IBM turned", "UPS+AAPL", "CVS turned", "UPS+GOOG")  # fmt: skip


def replace(month: Any, data: Path) -> None:
    """Put them in the place of the benchmark's own, in its module `budget_month`."""
    import numpy  # noqa: PLC0415  in the benchmark's environment only

    found = arrivals.months(data)
    series = [numpy.array(found[name]) for name in ORDER]
    month.load_arrivals = lambda _data: series
    month.POOLS.clear()
    month.POOLS.update(_pools(month.PoolSource, month.Price))


def _pools(source: Any, price: Any) -> dict[str, Any]:
    cheap, dear = price(0.4, 2.0), price(2.0, 6.0)
    small, large = price(0.15, 0.15), price(2.0, 6.0)
    return {
        "arena turbo": source(
            *("arena_hard_mistral", "GPT-3.5 -> GPT-4o", ("q_gpt_3_5_turbo_0125", "q_gpt_4o"), "prompt_tokens_est"),
            *((cheap, dear), (4096, 4096)),
            output=("out_tok_gpt_3_5_turbo_0125", "out_tok_gpt_4o_2024_05_13"),
            system_tokens=600,
        ),
        "pareto flash": source(
            *("paretobandit_judged", "Llama-3.1-8B -> Gemini 2.5 Flash", ("q_llama31_8b", "q_gemini25_flash")),
            *("prompt_tokens_est", (price(0.02, 0.05), price(0.3, 2.5)), (16384, 8192)),
            cost=("cost_usd_llama31_8b", "cost_usd_gemini25_flash"),
        ),
        "gsm8k llama": source(
            *("gsm8k_multi", "Llama-3.1-8B -> 70B", ("q_meta_llama_3_1_8b_instruct", "q_meta_llama_3_1_70b_instruct")),
            *("prompt_tokens_est", (small, large), (1024, 1024)),
            output=("out_tok_meta_llama_3_1_8b_instruct", "out_tok_meta_llama_3_1_70b_instruct"),
            system_tokens=600,
        ),
        "mixed benchmarks": source(
            *("llmrouter_scores", "Mistral-7B -> Nemotron-49B"),
            ("q_mistral_7b_instruct_v0_3", "q_llama_3_3_nemotron_super_49b_v1"),
            *("prompt_tokens_est", (cheap, dear), (1024, 1024)),
            fixed_output=250,
            system_tokens=600,
        ),
        "wildbench reka": source(
            *("wildbench_scores", "Reka Edge -> Core", ("score10_reka_edge", "score10_reka_core_20240501")),
            *("judge_context_tokens", (cheap, dear), (8192, 4096)),
            output=("out_tok_reka_edge", "out_tok_reka_core_20240501"),
            quality_scale=0.1,
        ),
    }
