"""A name has one word and one look, whichever source gives it: figures of one source do not depend on another's."""

from collections import defaultdict

from palimpsest import sources


def test_no_two_sources_differ_about_a_name() -> None:
    given: dict[tuple[object, ...], set[object]] = defaultdict(set)
    for source in sources.manifests().values():
        for kind in ("labels", "symbols"):
            for name, text in getattr(source.words, kind).items():
                given[kind, name].add(text)
        for axis, names in source.words.values.items():
            for value, text in names.items():
                given["values", axis, value].add(text)
        for kind in ("models", "cells"):
            for name, look in getattr(source.looks, kind).items():
                given[kind, name].add(look)
    assert len(given) > 50
    assert {name: found for name, found in given.items() if len(found) > 1} == {}
