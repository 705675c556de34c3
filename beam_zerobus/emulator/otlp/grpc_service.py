"""OTLP over gRPC: one service for each signal, with one method."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from beam_zerobus.emulator.otlp.exports import SIGNALS, Exports, Signal
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.row_request import NoAnswerError
from beam_zerobus.emulator.status import end_failed, end_stream
from beam_zerobus.emulator.streams import connections
from beam_zerobus.emulator.wire import TABLE_HEADER

__all__ = ["export_handlers"]


def export_handlers(exports: Exports) -> Iterator[grpc.GenericRpcHandler]:
    """Yield the handlers of the services."""
    for signal in SIGNALS:
        method = grpc.unary_unary_rpc_method_handler(_Method(exports, signal))
        yield grpc.method_handlers_generic_handler(signal.service, {"Export": method})


class _Method:
    def __init__(self, exports: Exports, signal: Signal) -> None:
        self._exports = exports
        self._signal = signal

    def __call__(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        headers = dict(context.invocation_metadata())
        try:
            response = self._exports.export(
                self._signal,
                token=self._exports.host.authenticate(headers.get("authorization")),
                table_name=headers.get(TABLE_HEADER),
                body=body,
            )
        except Rejection as rejection:
            self._exports.host.note(headers.get(TABLE_HEADER, ""), rejection)
            end_stream(context, rejection)
        except NoAnswerError:
            connections.cut_call(context, self._exports.host.port)
            context.abort(grpc.StatusCode.UNAVAILABLE, "injected fault: the connection was dropped")
        except Exception as error:  # noqa: BLE001 - the client always gets a status
            end_failed(context, error)
        answer: bytes = response.SerializeToString()
        return answer
