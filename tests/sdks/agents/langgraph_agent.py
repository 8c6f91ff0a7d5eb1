"""A graph for `ask_agent`: the first word of the question selects the answer, which is streamed in pieces; keeps its session."""

import asyncio
from typing import Annotated, TypedDict
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage, AnyMessage
from langgraph.graph import StateGraph, START, END
from langgraph.graph.message import add_messages
from langgraph.types import interrupt

class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]

def last(state):
    m = state["messages"][-1].content
    return m if isinstance(m, str) else " ".join(p.get("text", "") for p in m if isinstance(p, dict))

async def answer(state: State):
    text = last(state)
    if text.startswith("fail"):
        raise ValueError("you said " + text)
    if text.startswith("slow"):
        n = int(text.split()[1])
        words = " ".join(f"w{i}" for i in range(n))
        out = []
        model = GenericFakeChatModel(messages=iter([AIMessage(content=words)]))
        full = None
        async for chunk in model.astream(state["messages"]):
            await asyncio.sleep(0.2)
            full = chunk if full is None else full + chunk
        return {"messages": [AIMessage(id=full.id, content=full.content)]}
    if text.startswith("tool"):
        return {"messages": [AIMessage(content="", tool_calls=[{"name": "weather", "args": {"c": "x"}, "id": "call_1"}])]}
    if text.startswith("ask"):
        said = interrupt({"question": "Deploy?", "choices": ["yes", "no"]})
        model = GenericFakeChatModel(messages=iter([AIMessage(content=f"you chose {said}")]))
        return {"messages": [await model.ainvoke(state["messages"])]}
    n = len([m for m in state["messages"] if m.type == "human"])
    model = GenericFakeChatModel(messages=iter([AIMessage(content=f"turn {n}: {text}", usage_metadata={"input_tokens": 3, "output_tokens": 5, "total_tokens": 8})]))
    return {"messages": [await model.ainvoke(state["messages"])]}

async def tools(state: State):
    return {"messages": [ToolMessage(content="sunny", name="weather", tool_call_id="call_1")]}

async def after(state: State):
    model = GenericFakeChatModel(messages=iter([AIMessage(content="it is sunny")]))
    return {"messages": [await model.ainvoke(state["messages"])]}

def route(state):
    return "tools" if getattr(state["messages"][-1], "tool_calls", None) else END

g = StateGraph(State)
g.add_node("answer", answer); g.add_node("tools", tools); g.add_node("after", after)
g.add_edge(START, "answer"); g.add_conditional_edges("answer", route, ["tools", END]); g.add_edge("tools", "after"); g.add_edge("after", END)
graph = g.compile()
