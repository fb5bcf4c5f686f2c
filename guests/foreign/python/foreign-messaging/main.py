"""A component of wasmCloud's messaging interface that knows nothing of saf. ../../README.md says what it does."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import consumer, logging, store
from wit_world.imports.types import BrokerMessage

seen = 0


def publish(subject: str, body: str) -> None:
    consumer.publish(BrokerMessage(subject, body.encode(), None))


class Handler(exports.Handler):
    def handle_message(self, msg: BrokerMessage) -> None:
        global seen
        seen += 1
        text = msg.body.decode()
        word, _, argument = text.partition(" ")
        logging.log(logging.Level.INFO, "foreign", word)
        match word:
            case "echo":
                publish(f"echo.{msg.subject}", text)
            case "reply":
                if msg.reply_to is None:
                    raise Err("no reply-to")
                publish(msg.reply_to, "answer")
            case "publish":
                publish(argument, "published")
            case "fail":
                publish("failed", "never seen")
                raise Err("told to fail")
            case "trap":
                publish("trapped", "never seen")
                raise RuntimeError("told to trap")
            case "request":
                consumer.request(argument, b"question", 1000)
            case "flood":
                while True:
                    publish("flood", text)
            case "configured":
                publish("configured", store.get(argument) or "")
            case "count":
                publish("count", str(seen))
            case _:
                raise Err(f"no such word: {word}")
