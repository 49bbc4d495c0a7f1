"""Licences are told by phrases that only they have; expressions are weighed against a list."""

import pytest

from omniform_codegen.licences import identify, is_notice, nearest, notices_of, permits

MIT = """The MIT License (MIT)

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software [...]
The above copyright notice and this permission notice shall be included in all copies
"""
BSD_2 = """Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are met: [...]"""
BSD_3 = BSD_2 + "\n3. Neither the name of the copyright holder nor the names of its contributors may be used [...]"
ISC = """Permission to use, copy, modify, and/or distribute this software for any
purpose with or without fee is hereby granted"""
LGPL_3 = """GNU LESSER GENERAL PUBLIC LICENSE
Version 3, 29 June 2007 [...] This version of the GNU Lesser General Public License incorporates the terms of
version 3 of the GNU General Public License"""
GPL_3 = "                GNU GENERAL PUBLIC LICENSE\n                   Version 3, 29 June 2007\n"
HEADER = """# This program is free software; you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation; either version 2 of the License, or
# (at your option) any later version.
"""
TEXTS = [
    (MIT, "MIT"),
    (MIT.split("\nThe above")[0], "MIT-0"),
    (BSD_2, "BSD-2-Clause"),
    (BSD_3, "BSD-3-Clause"),
    (BSD_3 + " All advertising materials mentioning features", "BSD-4-Clause"),
    (ISC, "ISC"),
    (GPL_3, "GPL-3.0"),
    (GPL_3.replace("3, 29 June 2007", "2, June 1991"), "GPL-2.0"),
    (LGPL_3, "LGPL-3.0"),
    (LGPL_3.replace("3, 29 June 2007", "2.1, February 1999"), "LGPL-2.1"),
    (GPL_3.replace("GENERAL", "AFFERO GENERAL") + "13. Use with the GNU General Public License.", "AGPL-3.0"),
    (HEADER, "GPL-2.0-or-later"),
    (HEADER.replace("either version 2 of the License, or", "version 2.").split("# (at")[0], "GPL-2.0"),
    ("                  Apache License\n            Version 2.0, January 2004\n", "Apache-2.0"),
    ("// Licensed under the Apache License, Version 2.0 (the License);\n", "Apache-2.0"),
    ("Mozilla Public License Version 2.0\n====", "MPL-2.0"),
    ("/* This Source Code Form is subject to the terms of the Mozilla Public\n * License, v. 2.0. */", "MPL-2.0"),
    ("This is free and unencumbered software released into the public domain.", "Unlicense"),
    ("PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2\n", "PSF-2.0"),
    ("# Licensed to PSF under a Contributor Agreement.", "PSF-2.0"),
    ("Creative Commons Legal Code\n\nCC0 1.0 Universal\n", "CC0-1.0"),
    ("# SPDX-License-Identifier: MIT OR Apache-2.0\nimport os", "MIT OR Apache-2.0"),
    ("/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) */", "(GPL-2.0-only WITH Linux-syscall-note)"),
    ("# SPDX-License-Identifier: BSD-3-Clause\n" + HEADER, "BSD-3-Clause"),
    ("All rights reserved.", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "licence"), TEXTS)
def test_texts_and_headers(text, licence):
    assert identify(text.encode()) == licence
    commented = "".join(f" * {line}\n" for line in text.splitlines())
    assert identify(commented.encode()) == licence


def test_names_of_notices():
    for name in ("LICENSE", "licence.txt", "LICENSE-MIT", "COPYING", "COPYING.LESSER", "UNLICENSE", "LICENSE.md"):
        assert is_notice(name), name
    for name in ("licenses.py", "license_check.py", "README.md", "copy.txt", "licensed.txt"):
        assert not is_notice(name), name


def test_the_nearest_notice_above_counts():
    notices = notices_of([("LICENSE", MIT.encode()), ("a/b/COPYING", GPL_3.encode()), ("c/LICENSE", b"Mine.")])
    assert notices == {"": "MIT", "a/b": "GPL-3.0"}
    assert nearest("x.py", notices) == "MIT"
    assert nearest("a/x.py", notices) == "MIT"
    assert nearest("a/b/c/d/x.py", notices) == "GPL-3.0"
    assert nearest("c/x.py", notices) == "MIT"
    assert nearest("x.py", {}) is None


def test_notices_side_by_side():
    apache = b"Apache License Version 2.0, January 2004"
    assert notices_of([("LICENSE-MIT", MIT.encode()), ("LICENSE-APACHE", apache)]) == {"": "Apache-2.0 OR MIT"}
    assert notices_of([("LICENSE", MIT.encode()), ("COPYING", GPL_3.encode())]) == {"": "GPL-3.0 AND MIT"}
    assert notices_of([("COPYING.LESSER", LGPL_3.encode()), ("COPYING", GPL_3.encode())]) == {"": "LGPL-3.0"}


@pytest.mark.parametrize(
    ("expression", "allowed", "met"),
    [
        ("MIT", "MIT", True),
        ("mit", "MIT", True),
        ("MIT", "Apache-2.0", False),
        (None, "MIT", False),
        ("", "MIT", False),
        ("MIT OR GPL-3.0-only", "MIT", True),
        ("MIT AND GPL-3.0-only", "MIT", False),
        ("MIT AND GPL-3.0-only", "MIT GPL-3.0", True),
        ("MIT AND (ISC OR GPL-3.0-only)", "MIT ISC", True),
        ("(MIT OR ISC) AND GPL-3.0-only", "MIT ISC", False),
        ("MIT OR ISC AND GPL-3.0-only", "MIT", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only", True),
        ("GPL-2.0-or-later", "GPL-2.0", True),
        ("GPL-2.0+", "GPL-2.0", True),
        ("GPL-2.0-only", "GPL-2.0-or-later", False),
        ("GPL-2.0", "GPL-2.0-only", True),
        ("GPL-2.0", "GPL-2.0-or-later", False),
        ("MIT ISC", "MIT ISC", False),
        ("(MIT", "MIT", False),
        ("MIT OR", "MIT", False),
    ],
)
def test_expressions(expression, allowed, met):
    assert permits(expression, frozenset(allowed.split())) is met
