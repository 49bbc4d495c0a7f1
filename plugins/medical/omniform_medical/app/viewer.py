"""Three planes that share a crosshair, the volumes of labels, and their surfaces."""

from __future__ import annotations

import html
from dataclasses import replace

import matplotlib
import streamlit as st
from matplotlib.colors import to_hex

from omniform.compare import numerals
from omniform.workbench import Workbench, plain
from omniform_medical.app.scene import TRUTH, Scene
from omniform_medical.app.slices import CONFIDENCE, Look, draw_plane, outline_colour, planes_of
from omniform_medical.app.surfaces import draw_surfaces, label_meshes
from omniform_medical.overlays import label_colours, window_of

__all__ = ["viewer"]

_NOTHING = "nothing"
_ENDS = ("left to right", "back to front", "bottom to top")  # of the canonical axes
_HOUNSFIELD = {  # level, window
    "soft tissue": (40, 400), "lung": (-600, 1500), "bone": (400, 1800), "brain": (40, 80), "liver": (70, 150),
}  # fmt: skip
_AIR = -500  # below are air and lung, which no other image than a CT gives numbers for
_KEY = "<span style='color:{}'>&#9632;</span>&nbsp;{}"


def viewer(bench: Workbench, scene: Scene, *, slot: str) -> None:
    """Show a scene; a slider that moves redraws nothing else of the page."""
    _View(bench, scene, slot).draw()


class _View:
    """The widgets of one viewer; what they are called depends on the case, so that another one starts in its middle."""

    def __init__(self, bench: Workbench, scene: Scene, slot: str) -> None:
        self.bench = bench
        self.scene = scene
        self.slot = slot
        self.planes = planes_of(scene)

    @st.fragment
    def draw(self) -> None:
        look = self._ask()
        look_at = self._show_planes(look)
        self._tell(look_at)
        if self.scene.layers:
            left, right = st.columns((2, 3))
            with left:
                self._surface(look_at.fill)
            with right:
                self._volumes()

    def _key(self, name: str, *changing: object) -> str:
        return ".".join(map(str, (self.bench.domain, self.slot, name, *changing)))

    def _ask(self) -> Look:
        """Ask for everything but the position, which is asked for beneath the planes."""
        names = list(self.scene.layers)
        columns = st.columns((2, 2, 1, 1))
        fill, outlines, opacity, confidence = None, (), 0.45, False
        if names:
            chosen = columns[0].radio("Fill", [*names, _NOTHING], horizontal=True, key=self._key("fill", names))
            fill = None if chosen == _NOTHING else chosen
            default = [TRUTH] if TRUTH in names and len(names) > 1 else []
            told = columns[1].multiselect("Outline", names, default=default, key=self._key("outline", names))
            outlines = tuple(told)
            opacity = columns[2].slider("Opacity", 0.0, 1.0, 0.45, 0.05, key=self._key("opacity"))
            layer = None if fill is None else self.scene.layers[fill]
            confidence = columns[3].toggle(
                "Confidence", key=self._key("confidence"), disabled=layer is None or layer.confidence is None,
                help="the probability of the class chosen, calibrated on validation, in place of the labels",
            )  # fmt: skip
        channel = 0
        if len(self.scene.channels) > 1:
            channel = st.selectbox(
                "Channel", range(len(self.scene.channels)), format_func=self.scene.channels.__getitem__,
                key=self._key("channel"),
            )  # fmt: skip
        window = self._ask_window(channel)
        shape, planes = self.scene.shape, self.planes
        x, y, z = (
            next((plane.index for plane in planes if plane.normal == axis), shape[axis] // 2) for axis in range(3)
        )
        return Look(
            at=(x, y, z), channel=channel, fill=fill, outlines=outlines, opacity=opacity, window=window,
            confidence=confidence,
        )  # fmt: skip

    def _ask_window(self, channel: int) -> tuple[float, float]:
        """Ask which intensities become black and white."""
        low, high, lowest, highest = self.bench.recall(
            f"{self.slot}.window", (self.scene, channel), lambda: self._measure(channel)
        )
        level, width, preset = (low + high) / 2, high - low, ""
        columns = st.columns(3)
        if lowest <= _AIR:
            preset = columns[2].selectbox(
                "Preset", ["", *_HOUNSFIELD], format_func=lambda name: name or "as it comes", key=self._key("preset")
            )
            level, width = _HOUNSFIELD.get(preset, (level, width))
        span = max(highest - lowest, width)
        step = span / 200
        where = (self.scene.name, channel, preset)
        level = columns[0].slider(
            "Level", float(min(lowest, level)), float(max(highest, level)), float(level), step, format="%.3g",
            key=self._key("level", *where),
        )  # fmt: skip
        width = columns[1].slider(
            "Window", step, float(span), float(width), step, format="%.3g", key=self._key("window", *where)
        )
        return level - width / 2, level + width / 2

    def _measure(self, channel: int) -> tuple[float, float, float, float]:
        image = self.scene.image[channel]
        return *window_of(image), float(image.min()), float(image.max())

    def _show_planes(self, look: Look) -> Look:
        """Show each plane above the slider that moves it; return the look with the place that they share."""
        places = list(look.at)
        pictures = []
        for column, plane in zip(st.columns(3), self.planes, strict=False):
            picture = column.empty()  # drawn when all three places are known
            size = self.scene.shape[plane.normal]
            label = f"{plane.name}, from {_ENDS[plane.normal]}"
            key = self._key(plane.name, self.scene.name, size)
            if size > 1:
                places[plane.normal] = column.slider(label, 1, size, plane.index + 1, key=key) - 1
            pictures.append((picture, plane))
        x, y, z = places
        look = replace(look, at=(x, y, z))
        for picture, plane in pictures:
            picture.image(draw_plane(self.scene, plane, look))
        return look

    def _tell(self, look: Look) -> None:
        """Tell colours, and what is at the crosshair."""
        scene = self.scene
        keys = []
        if look.fill is not None and look.confidence and scene.layers[look.fill].confidence is not None:
            keys.append(_ramp())
        elif look.fill is not None:
            colours = label_colours(len(scene.labels) - 1)
            keys += [_KEY.format(*each) for each in zip(colours, map(html.escape, scene.labels[1:]), strict=True)]
        keys += [
            f"<span style='background:#57606a;color:{outline_colour(name, place)}'>&nbsp;&#9644;&nbsp;</span>&nbsp;"
            f"outline of {html.escape(name)}"
            for place, name in enumerate(look.outlines)
        ]
        st.markdown(" &ensp; ".join(keys), unsafe_allow_html=True)
        place = ", ".join(f"{value:.1f}" for value in scene.position(look.at))
        said = [f"intensity {float(scene.image[(look.channel, *look.at)]):.4g}"]
        for name, layer in scene.layers.items():
            sure = "" if layer.confidence is None else f" ({layer.confidence[look.at] / 255:.0%})"
            said.append(f"{name}: {scene.labels[layer.label[look.at]]}{sure}")
        st.caption(plain(f"At the crosshair, ({place}) mm to the right, front and up: {'; '.join(said)}."))

    def _surface(self, fill: str | None) -> None:
        scene = self.scene
        if fill is None:
            st.caption("Fill a layer to see it in space.")
            return
        classes = len(scene.labels)
        shown = st.multiselect(
            "In space", range(1, classes), default=list(range(1, classes)), format_func=scene.labels.__getitem__,
            key=self._key("shown", classes),
        )  # fmt: skip
        turn = st.slider("Turn", -180, 180, 30, 15, key=self._key("turn"), format="%d°")
        meshes = self.bench.recall(
            f"{self.slot}.meshes",
            (scene, fill),
            lambda: label_meshes(scene.layers[fill].label, scene.spacing, classes),
        )
        picture = self.bench.recall(
            f"{self.slot}.surface",
            (scene, fill, tuple(shown), turn),
            lambda: draw_surfaces({k: meshes[k] for k in shown if k in meshes}, classes, turn=turn),
        )
        st.image(picture)

    def _volumes(self) -> None:
        table = self.bench.recall(f"{self.slot}.table", self.scene, self.scene.table)
        formats = {"mL": "{:.2f}", "confidence": "{:.3f}", "estimated Dice": "{:.3f}", "Dice": "{:.3f}"}
        st.markdown("**Volumes**")
        styled = table.style.format({name: formats[name] for name in table.columns[2:]})
        st.dataframe(styled, hide_index=True, placeholder=numerals.MISSING)
        if "confidence" in table:
            st.caption("Confidence is the mean over a label's voxels; the estimated Dice follows from it alone.")


def _ramp() -> str:
    """Return a strip of the colours of confidence, with what its ends mean."""
    colours = ", ".join(to_hex(matplotlib.colormaps[CONFIDENCE](step / 4)) for step in range(5))
    strip = f"display:inline-block;width:8em;height:0.8em;background:linear-gradient(to right,{colours})"
    return f"confidence 0&nbsp;<span style='{strip}'></span>&nbsp;1"
