"""Keys and rates."""

from __future__ import annotations

import pytest

from resnets.inference.predictor import load
from resnets.serving import server
from resnets.serving.fetching import Fetcher
from resnets.serving.guards import CLIENTS, Keys, Rate
from resnets.serving.limits import Limits


def test_every_key_is_compared_whichever_is_found(monkeypatch):
    compared = []
    monkeypatch.setattr("hmac.compare_digest", lambda a, b: compared.append((len(a), len(b))) or a == b)
    keys = Keys(["a" * 16, "b" * 40, "c" * 16])
    assert [keys.find(shown) for shown in ("a" * 16, "b" * 40, "c", "\udcff")] == [0, 1, None, None]
    assert compared == [(32, 32)] * 12  # digests, all of one length


def test_a_file_without_good_keys_is_an_error(tmp_path):
    path = tmp_path / "keys"
    path.write_text("# nothing\n")
    with pytest.raises(ValueError, match="has no keys; write one a line"):
        Keys.from_file(path)
    path.write_text("0123456789abcdef\nshort\n")
    with pytest.raises(ValueError, match=r"key 2 of .* has 5 characters; at least 16"):
        Keys.from_file(path)
    path.write_text("0123456789abcdef\nschl\u00fcssel-0123456789\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"key 2 of .* has letters that headers have not"):
        Keys.from_file(path)


def test_a_rate_allows_a_burst_and_then_its_mean():
    rate = Rate(10)
    made = [0.001 * moment for moment in range(10_000) if rate.wait("one", 0.001 * moment) == 0]
    assert len([moment for moment in made if moment < 0.05]) == 20
    assert len(made) == pytest.approx(20 + 10 * 10, abs=1)
    assert rate.wait("another", 0.0) == 0
    full = Rate(0.5)
    assert full.wait("one", 0.0) == 0
    assert full.wait("one", 0.0) == pytest.approx(2)


def test_clients_that_are_remembered_are_bounded():
    rate = Rate(1)
    for number in range(CLIENTS + 100):
        rate.wait(str(number), 0.0)
    assert len(rate._buckets) == CLIENTS


@pytest.mark.parametrize(
    "host",
    [
        "ftp://example.org",
        "example.org/pictures",
        "user@example.org",
        "",
        "*.example.org",
        "a b.org",
        "b.org ",
    ],
)
def test_a_host_is_written_as_one(host):
    with pytest.raises(ValueError, match=r"no address|more than a host"):
        Fetcher([host], 1.0)
    assert Fetcher(["Example.org", "http://[::1]:80"], 1.0).origins == {
        ("https", "example.org", 443),
        ("http", "::1", 80),
    }


@pytest.mark.parametrize("trusted", ["", "10.0.0.1"])
def test_only_proxies_that_are_trusted_say_who_a_client_is(trusted, monkeypatch):
    configs = []
    monkeypatch.setattr(server.AnnouncingServer, "__init__", lambda _, config, __: configs.append(config))
    monkeypatch.setattr(server.AnnouncingServer, "run", lambda *_, **__: None)
    monkeypatch.setattr(server.signal, "signal", lambda *_: None)
    monkeypatch.setattr(server, "write_events", lambda: None)
    monkeypatch.setattr(server, "quiet_pictures", lambda _: None)
    server.serve_runs(["resnet20-cifar10"], load, Limits(), port=0, explains=False, trusted_proxies=trusted)
    assert configs[0].proxy_headers is bool(trusted)
    assert not trusted or configs[0].forwarded_allow_ips == trusted
