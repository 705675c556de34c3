"""The programs that send files, Kafka topics and dead letters: ``beam-zerobus send``, ``kafka``, ``replay``."""

from beam_zerobus.logs import importing_beam

with importing_beam():
    import apache_beam  # noqa: F401  here first, so that no program begins with Beam's own warning
