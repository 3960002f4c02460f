"""halfpenny.toml and the environment: what is taken, and the one sentence for what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.config import Config, default_text, load, read
from router.provider_config import BadConfig


def test_an_empty_file_is_the_default() -> None:
    assert read("", {}) == Config()


def test_the_default_listens_on_loopback_and_keeps_the_providers_key_out_of_the_file() -> None:
    config = Config()

    assert (config.server.host, config.server.port) == ("127.0.0.1", 8484)
    assert (config.provider.base_url, config.provider.key_env) == ("https://global-apis.com/v1", "GLOBAL_API_KEY")


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[server]\nprot = 1", "halfpenny.toml: unknown key 'prot' in [server]. Remove it or correct its spelling."),
        ("[sever]\nport = 1", "halfpenny.toml: unknown key 'sever'. Remove it or correct its spelling."),
        ("[server]\nport = '1'", "server.port: expected `int`, got `str`"),
        ("[server]\nport = 70000", "server.port: expected `int` <= 65535"),
        ("[policy]\nname = 'best'", "policy.name: invalid enum value 'best'"),
        ("[budget]\nwait_s = -1", "budget.wait_s: expected `float` >= 0"),
        ("[provider]\nbase_url = 'ftp://x'", "'ftp://x' is not an http or https address"),
        ("[provider]\nbase_url = 'http://me:pw@x/v1'", "without a user name"),
        ("[provider]\nbase_url = 'http://x:port/v1'", "is not an http or https address"),
        ("server = 1", "server: expected `object`, got `int`"),
        ("[server", "is not TOML"),
    ],
)
def test_what_cannot_be_taken_is_one_sentence(toml: str, said: str) -> None:
    with pytest.raises(BadConfig) as refused:
        read(toml, {})

    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_environment_wins_over_the_file_and_is_read_as_the_keys_own_type() -> None:
    environment = {
        "HALFPENNY_SERVER_PORT": "9000",
        "HALFPENNY_PROVIDER_BILLS_ERRORS": "true",
        "HALFPENNY_BUDGET_WAIT_S": "0.5",
        "HALFPENNY_ARMS_PREMIUM": "some-model",
        "HALFPENNY_HOME": "elsewhere",
    }

    config = read("[server]\nport = 1", environment)

    assert (config.server.port, config.provider.bills_errors, config.budget.wait_s) == (9000, True, 0.5)
    assert config.arms["premium"] == "some-model"


def test_a_bad_value_in_the_environment_is_named() -> None:
    with pytest.raises(BadConfig, match="HALFPENNY_SERVER_PORT in the environment"):
        read("", {"HALFPENNY_SERVER_PORT": "many"})


def test_the_reports_section_belongs_to_another_room_and_passes() -> None:
    assert read("[reports]\nanything = [1, 2]", {}).reports == {"anything": [1, 2]}


def test_what_init_writes_reads_as_what_was_asked() -> None:
    config = read(default_text(provider_url='http://h:1/"v1', key_env="KEY", port=0), {})

    assert (config.provider.base_url, config.provider.key_env, config.server.port) == ('http://h:1/"v1', "KEY", 0)
    assert read(default_text(), {}) == Config()


def test_init_refuses_an_address_it_could_not_read_again() -> None:
    with pytest.raises(BadConfig):
        default_text(provider_url="global-apis.com")


def test_a_missing_file_says_how_to_make_a_home(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="halfpenny init --home"):
        load(tmp_path / "halfpenny.toml", {})
