"""An A2A agent of the official SDK, for `ask_agent`: a2a_server.py PORT MODE.

MODE: `stream` (versions 1.0 and 0.3 on one address) or `poll` (no streaming).
"""

import asyncio
import sys

import uvicorn
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes.agent_card_routes import create_agent_card_routes
from a2a.server.routes.jsonrpc_routes import create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, Part, Task, TaskState, TaskStatus
from starlette.applications import Starlette

TURNS = {}


class Agent(AgentExecutor):
    async def execute(self, context, queue):
        text = context.get_user_input()
        updater = TaskUpdater(queue, context.task_id, context.context_id)
        said = lambda text: updater.new_agent_message([Part(text=text)])
        if context.current_task is None:
            status = TaskStatus(state=TaskState.TASK_STATE_SUBMITTED)
            await queue.enqueue_event(Task(id=context.task_id, context_id=context.context_id, status=status))
        elif context.current_task.status.state == TaskState.TASK_STATE_INPUT_REQUIRED:
            await updater.add_artifact([Part(text=f"you chose {text}")], artifact_id="answer")
            return await updater.complete()
        await updater.start_work(said("thinking"))
        if text.startswith("ask"):
            return await updater.requires_input(said("Deploy?"))
        if text.startswith("fail"):
            return await updater.failed(said("it broke"))
        turn = TURNS[context.context_id] = TURNS.get(context.context_id, 0) + 1
        pieces = [f"turn {turn}: ", text]
        pause = 0
        if text.startswith("slow"):
            pieces = [f" w{n}" if n else "w0" for n in range(int(text.split()[1]))]
            pause = 0.2
        for n, piece in enumerate(pieces):
            await updater.add_artifact([Part(text=piece)], artifact_id="answer", append=n > 0)
            await asyncio.sleep(pause)
        await updater.complete()

    async def cancel(self, context, queue):
        await TaskUpdater(queue, context.task_id, context.context_id).cancel()


port, mode = int(sys.argv[1]), sys.argv[2]
url = f"http://127.0.0.1:{port}/rpc"
card = AgentCard(
    name="test",
    description="test",
    version="1",
    capabilities=AgentCapabilities(streaming=mode == "stream"),
    default_input_modes=["text/plain"],
    default_output_modes=["text/plain"],
    supported_interfaces=[
        AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version=version) for version in ("1.0", "0.3")
    ],
)
handler = DefaultRequestHandler(agent_executor=Agent(), task_store=InMemoryTaskStore(), agent_card=card)
routes = create_agent_card_routes(card) + create_jsonrpc_routes(handler, "/rpc", enable_v0_3_compat=True)
uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=port, log_level="warning")
