"""The handlers of the sensors' alarm, and a worker that serves them until SIGTERM.

No siren sounds: each writes a line to its log.
"""

from pydantic import AwareDatetime, BaseModel

import sdk

TASK_QUEUE = "plant-handlers-tq"


class Silence(BaseModel):
    """The input of `sound_alarm`: which sensor, and until when it was to be heard."""

    sensor: str
    expected_by: AwareDatetime


class Sensor(BaseModel):
    """The input of `call_off_alarm`."""

    sensor: str


class Told(BaseModel):
    """The output of both: what the operators hear."""

    message: str


@sdk.task_handler("sound_alarm")
async def sound_alarm(silence: Silence, context: sdk.TaskContext) -> Told:
    """Tell the operators that a sensor is silent."""
    told = Told(message=f"sensor {silence.sensor} was not heard by {silence.expected_by:%F %T}")
    context.logger.warning("alarm", sensor=silence.sensor, key=context.idempotency_key)
    return told


@sdk.task_handler("call_off_alarm")
async def call_off_alarm(sensor: Sensor, context: sdk.TaskContext) -> Told:
    """Tell the operators that a sensor is heard again."""
    context.logger.info("all_clear", sensor=sensor.sensor, key=context.idempotency_key)
    return Told(message=f"sensor {sensor.sensor} is heard again")


HANDLERS = (sound_alarm, call_off_alarm)

if __name__ == "__main__":
    sdk.run_worker(handlers=HANDLERS, task_queue=TASK_QUEUE)
