"""Milvus Lite 3.2.2 as a server that keeps what it acknowledged.

Its own command (`milvus-lite server`) loses rows without an error when two calls write at the same time, listens on every
interface, and ignores SIGTERM. This launcher runs the same engine on loopback with one call at a time, and adds what the
Node SDK expects of a Milvus: filter templates (filled in here as literals) and a default metric for text search. It ends
when its standard input ends, that is, when the process that started it is gone.

usage: python milvus_lite_server.py DATA_FOLDER PORT
"""
import re
import signal
import sys
import threading
from concurrent import futures

import grpc
from milvus_lite.adapter.grpc.servicer import MilvusServicer
from milvus_lite.db import MilvusLite
from pymilvus.grpc_gen import milvus_pb2_grpc

# These answer even while a long call holds the lock: a health check must not wait for a search.
UNLOCKED = ("/Connect", "/GetVersion", "/CheckHealth")
MAX_MESSAGE_BYTES = 256 << 20
ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
# A quoted string (left alone, whatever stands in it) or a template such as {tenant}.
STRING_OR_TEMPLATE = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|\{\s*([A-Za-z_]\w*)\s*\}', re.S)


def quoted(text):
    return '"' + "".join(ESCAPES.get(char, char) for char in text) + '"'


def array_literal(array):
    kind = array.WhichOneof("data")
    if kind is None:
        return "[]"
    render = {"string_data": quoted, "bool_data": lambda value: "true" if value else "false"}.get(kind, repr)
    return "[" + ",".join(render(value) for value in getattr(array, kind).data) + "]"


def literal(value):
    """A template's value as Milvus Lite's filter language writes it."""
    kind = value.WhichOneof("val")
    if kind == "string_val":
        return quoted(value.string_val)
    if kind == "bool_val":
        return "true" if value.bool_val else "false"
    if kind == "int64_val":
        return str(value.int64_val)
    if kind == "float_val":
        return repr(value.float_val)
    if kind == "array_val":
        return array_literal(value.array_val)
    raise ValueError(f"a template value of kind {kind} is not supported")


def fill(expression, values):
    def replace(match):
        name = match.group(1)
        if name is None:
            return match.group(0)
        if name not in values:
            raise ValueError(f"no value for the template {{{name}}}")
        return literal(values[name])

    return STRING_OR_TEMPLATE.sub(replace, expression)


def adapt(request):
    """Makes one request of the Node SDK what Milvus Lite understands, its sub-requests included."""
    if len(getattr(request, "expr_template_values", ())):
        for field in ("dsl", "expr"):
            if getattr(request, field, ""):
                setattr(request, field, fill(getattr(request, field), request.expr_template_values))
    if hasattr(request, "search_params"):  # an empty metric is refused, a missing one is the index's own
        kept = [pair for pair in request.search_params if not (pair.key == "metric_type" and pair.value in ("", '""'))]
        if len(kept) != len(request.search_params):
            del request.search_params[:]
            request.search_params.extend(kept)
    for sub_request in getattr(request, "requests", ()):
        adapt(sub_request)


class OneAtATime(grpc.ServerInterceptor):
    def __init__(self):
        self._lock = threading.Lock()

    def intercept_service(self, continuation, details):
        handler = continuation(details)
        if handler is None or not handler.unary_unary or details.method.endswith(UNLOCKED):
            return handler

        def call(request, context):
            try:
                adapt(request)
            except ValueError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            with self._lock:
                return handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(call, handler.request_deserializer, handler.response_serializer)


def load_everything(database):
    """After a restart collections are released and every search would fail."""
    for name in database.list_databases():
        for collection in database.list_collections(database_name=name):
            database.get_collection(collection, database_name=name).load()


def listen(database, port):
    server = grpc.server(
        futures.ThreadPoolExecutor(16),
        interceptors=[OneAtATime()],
        options=[
            # the SDK pings every 10 s, as Milvus allows; gRPC's own default takes that for an attack and cuts the connection
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
            ("grpc.http2.max_ping_strikes", 0),  # pings of a client whose loop was busy come in a bunch
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.so_reuseport", 0),  # with it a second server would share the port and half of the calls
        ],
    )
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(MilvusServicer(database), server)
    try:
        bound = server.add_insecure_port(f"127.0.0.1:{port}")
    except RuntimeError:
        bound = 0
    if not bound:
        database.close()
        sys.exit(f"port {port} is taken")
    server.start()
    return server, bound


def main(data_folder, port):
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    database = MilvusLite(data_folder)
    load_everything(database)
    server, bound = listen(database, port)

    def end_with_parent():
        sys.stdin.buffer.read()
        stop.set()

    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        print(f"milvus-lite listening on 127.0.0.1:{bound}", flush=True)
    except BrokenPipeError:  # the parent is gone already: close in order, below
        stop.set()
    stop.wait()
    server.stop(5).wait()
    database.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
