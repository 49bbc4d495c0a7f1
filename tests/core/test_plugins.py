"""The plugin host: every way in which a plugin can be broken stays that plugin's own trouble."""

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from omniform import hookspecs
from omniform.errors import ConfigError, PluginError
from omniform.plugins import SHARED_COMMANDS, Host, discover, find_mixer
from omniform.specs import RESERVED_NAMES, Domain, Ref, System, TaskEntry

GOOD = """
    from omniform.hookspecs import hookimpl
    from omniform.specs import Domain, Ref, System, TaskEntry

    @hookimpl
    def omniform_domains():
        task = TaskEntry(name="t", summary="", task=Ref("nowhere:T"))
        return (Domain(name={name!r}, title="", summary="", tasks=(task,){more}),)
"""
ROW = System(id="row", kind="token-mixer", title="", paper="1706.03762", code=Ref("nowhere:Row"), mixer=True)


def good(name: str, more: str = "") -> str:
    return GOOD.format(name=name, more=f", {more}" if more else "")


def failure_of(found: Host, name: str) -> str:
    [failure] = [failure for failure in found.failed if failure.name == name]
    assert failure.traceback.startswith("Traceback")
    assert failure.error.partition(":")[0] in failure.traceback
    return failure.error


def test_good_plugin_loads(install):
    found = discover(install(one=good("alpha")))
    assert [domain.name for domain in found.domains] == ["alpha"]
    assert [(plugin.name, plugin.domains) for plugin in found.loaded] == [("one", ("alpha",))]
    assert found.failed == found.missing == ()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import nothing_of_this_name", "ModuleNotFoundError"),
        ("def f(:", "SyntaxError"),
        (
            """
            from omniform.hookspecs import hookimpl
            @hookimpl
            def omniform_domain():
                return ()
            """,
            "omniform_domain",
        ),
        ("def omniform_sytems():\n    return ()", "unknown hook omniform_sytems; did you mean omniform_systems"),
        ("def omniform_domains():\n    return ()", "omniform_domains lacks its marker"),
        (
            """
            from omniform.hookspecs import hookimpl
            @hookimpl
            def omniform_domains(host):
                return ()
            """,
            "hook 'omniform_domains'",
        ),
        (
            """
            from omniform.hookspecs import hookimpl
            @hookimpl
            def omniform_domains():
                return "timeseries"
            """,
            "expected a hook to return a sequence of Domain, got 'timeseries'",
        ),
        (
            """
            from omniform.hookspecs import hookimpl
            @hookimpl
            def omniform_domains():
                raise KeyError("inside")
            """,
            "KeyError: 'inside'",
        ),
    ],
    ids=[
        "raises",
        "exits",
        "imports-nothing",
        "syntax",
        "misspelt",
        "misspelt-unmarked",
        "unmarked",
        "arguments",
        "wrong-type",
        "raises-in-hook",
    ],
)
def test_broken_plugin_takes_nobody_down(install, source, message):
    install(broken=source)
    found = discover(install(one=good("alpha")))
    assert message in failure_of(found, "broken")
    assert [domain.name for domain in found.domains] == ["alpha"]


@pytest.mark.parametrize("value", ["no_such_module", "os:no_such_attribute", "os:getcwd", "not a module!"])
def test_entry_point_to_nothing(install, value):
    found = discover([*install(one=good("alpha")), EntryPoint("ghost", value, "omniform")])
    assert failure_of(found, "ghost")
    assert [domain.name for domain in found.domains] == ["alpha"]


def test_second_domain_of_one_name_fails(install):
    found = discover(install(first=good("alpha"), second=good("alpha")))
    assert [plugin.name for plugin in found.loaded] == ["first"]
    assert "the domain 'alpha' is already given by first" in failure_of(found, "second")


def test_refused_plugin_leaves_no_name_behind(install):
    """A plugin that fails on its second name must not hold its first."""
    both = """
        from omniform.hookspecs import hookimpl
        from omniform.specs import Domain, Ref, TaskEntry
        @hookimpl
        def omniform_domains():
            task = TaskEntry(name="t", summary="", task=Ref("nowhere:T"))
            return [Domain(name=n, title="", summary="", tasks=(task,)) for n in ("beta", "alpha")]
    """
    found = discover(install(a=good("alpha"), b=both, c=good("beta")))
    assert [domain.name for domain in found.domains] == ["alpha", "beta"]
    assert [failure.name for failure in found.failed] == ["b"]


def test_second_system_of_one_id_fails(install):
    source = """
        from omniform.hookspecs import hookimpl
        from omniform.specs import Ref, System
        @hookimpl
        def omniform_systems():
            return [System(id="row", kind="floor", title="", paper="x", code=Ref("nowhere:Row"))]
    """
    found = discover(install(thief=source), builtin=(ROW,))
    assert found.systems == (ROW,)
    assert "the system 'row' is already given by omniform" in failure_of(found, "thief")


def test_entry_points_are_deduplicated_by_name_and_value(install):
    [entry] = install(one=good("alpha"))
    found = discover([entry, EntryPoint(entry.name, entry.value, entry.group)])
    assert len(found.loaded) == 1
    assert found.failed == ()


def test_missing_extra_is_listed_with_its_remedy(install):
    source = good("alpha", 'extra="alpha", requires=("json", "no_such_module.part", "nor_this")')
    found = discover(install(one=source))
    assert found.domains == ()
    [lack] = found.missing
    assert lack.modules == ("no_such_module.part", "nor_this")
    assert lack.remedy == 'pip install "omniform[alpha]"'
    with pytest.raises(PluginError, match=r"needs no_such_module.part, nor_this; run: pip install"):
        found.domain("alpha")


def test_third_party_without_extra_gets_a_remedy_too(install):
    found = discover(install(one=good("alpha", 'requires=("no_such_module",)')))
    assert found.missing[0].remedy == "pip install no_such_module"


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_commands_are_reserved_as_domain_names(install, name):
    found = discover(install(one=good(name)))
    assert "choose another domain name" in failure_of(found, "one")


@pytest.mark.parametrize("name", sorted(SHARED_COMMANDS))
def test_shared_commands_are_reserved_as_verbs(install, name):
    verb = f'verbs=(__import__("omniform").specs.Verb(name="{name}", summary="", command=Ref("a:b")),)'
    found = discover(install(one=good("alpha", verb)))
    assert "which all domains have" in failure_of(found, "one")


def test_a_verb_may_extend_a_shared_command_if_it_says_so(install):
    verb = 'verbs=(__import__("omniform").specs.Verb(name="{}", summary="", command=Ref("a:b"), extends=True),)'
    assert discover(install(one=good("alpha", verb.format("evaluate")))).failed == ()
    found = discover(install(two=good("beta", verb.format("walk"))))
    assert "extends no command" in failure_of(found, "two")


def test_domain_without_tasks_fails(install):
    found = discover(install(one=good("alpha").replace("(task,)", "()")))
    assert "has no task" in failure_of(found, "one")


def test_unknown_domain_gets_a_suggestion(install):
    found = discover(install(one=good("alpha")))
    with pytest.raises(PluginError, match="did you mean alpha"):
        found.domain("alpa")


def test_builtin_plugins_load():
    found = discover(entry_points(group="omniform"))
    ours = {plugin.name for plugin in found.loaded if plugin.distribution == "omniform"}
    assert "timeseries" in ours
    assert not [failure for failure in found.failed if failure.distribution == "omniform"]


def test_find_mixer(install, monkeypatch):
    source = """
        from omniform.hookspecs import hookimpl
        from omniform.specs import Ref, System
        class Swap: ...
        @hookimpl
        def omniform_systems():
            row = dict(title="", paper="x", code=Ref("swapper:Swap"))
            return [
                System(id="my-swap", kind="token-mixer", mixer=True, **row),
                System(id="my-floor", kind="floor", **row),
            ]
    """
    install(swapper=source)
    assert find_mixer("my-swap").__name__ == "Swap"
    with pytest.raises(ConfigError, match="no mixer 'my-swop'; did you mean my-swap"):
        find_mixer("my-swop")
    with pytest.raises(ConfigError, match="'my-floor' is a floor, not a token mixer"):
        find_mixer("my-floor")


def test_documentation_names_every_hook_and_reserved_word():
    page = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
    hooks = [name for name in hookspecs.__all__ if name.startswith("omniform_")]
    assert [name for name in hooks if f"`{name}()`" not in page] == []
    assert [word for word in RESERVED_NAMES | SHARED_COMMANDS if f"`{word}`" not in page] == []


def test_ref_says_what_cannot_be_loaded():
    for path in ("nowhere:thing", "json:nothing", "json:loads.nothing"):
        with pytest.raises(PluginError, match=path):
            Ref(path).load()
    with pytest.raises(ValueError, match="expected"):
        Ref("json")


def test_domain_names_are_words():
    task = TaskEntry(name="t", summary="", task=Ref("a:b"))
    for name in ("Upper", "", "two words", "1st"):
        with pytest.raises(ValueError, match="domain name"):
            Domain(name=name, title="", summary="", tasks=(task,))
