"""Everything that omniform raises on purpose.

    OmniformError              a user's mistake or a limit that was declared: one clear line, exit code 2
    ├── DataError              the data is not what was expected (file, column, stamp, value)
    ├── ConfigError            an option or combination of options that cannot work
    ├── IncompatibleError      a mixer was asked for what its traits rule out
    ├── RunError               a run folder is missing, truncated, renamed or hand-edited
    ├── PluginError            a plugin was named that is absent, broken or lacks its extra
    ├── SizeError              no width meets the parameter target
    └── SandboxError           this machine cannot run untrusted code safely

Each message says what was expected, what came, and what to do. Anything else that escapes is a fault of ours (exit 1).
"""

__all__ = [
    "ConfigError",
    "DataError",
    "IncompatibleError",
    "OmniformError",
    "PluginError",
    "RunError",
    "SandboxError",
    "SizeError",
]


class OmniformError(Exception):
    """A mistake that the user can mend; its message is one line."""


class DataError(OmniformError):
    """The data is not what was expected."""


class ConfigError(OmniformError):
    """An option, or a combination of options, cannot work."""


class IncompatibleError(OmniformError):
    """A mixer was asked for something that its traits rule out."""


class RunError(OmniformError):
    """A run folder cannot be trusted or read."""


class PluginError(OmniformError):
    """A plugin is absent, broken, or lacks its extra."""


class SizeError(OmniformError):
    """No width meets the parameter target."""


class SandboxError(OmniformError):
    """Untrusted code cannot be run safely on this machine, so it is not run."""
