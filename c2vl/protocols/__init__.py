"""The papers' protocols: scores of a frozen encoder, each registered by its name.

A protocol is a function of a :class:`~c2vl.protocols.task.Task`, and of its settings where it has
any; it returns :class:`~c2vl.protocols.task.Outcome` objects. ``c2vl evaluate`` makes an option of
every setting that has a description::

    class Settings(ProtocolSettings):
        k: int = Field(5, description="Neighbours.")

    def nearest(task: Task, settings: Settings) -> list[Outcome]: ...

    register("protocol", "nearest", nearest, settings=Settings, help="Nearest neighbours.")
"""
