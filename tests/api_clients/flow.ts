// Runs the whole flow with a client generated from the API description: agent, bot, trigger, the bot's status, a token, clean-up.

import createClient from "openapi-fetch";
import type { paths } from "./api.js";

declare const process: { env: Record<string, string | undefined> };

const [baseUrl, token] = [process.env.TIELINE_URL!, process.env.TIELINE_TOKEN!];
const api = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });
const path = { org: "default" };

/** What an answer holds, or the problem as an error. */
function given<T>({ data, error, response }: { data?: T; error?: unknown; response: Response }): T {
  if (error !== undefined || data === undefined) throw new Error(`${response.url}: ${response.status} ${JSON.stringify(error)}`);
  return data;
}

const agent = given(await api.POST("/api/v1/orgs/{org}/agents", { params: { path }, body: { name: "Generated TS", protocol: "echo" } }));
const bot = given(await api.POST("/api/v1/orgs/{org}/integrations", { params: { path }, body: { name: "Generated TS", platform: "web" } }));
const body = { integrationId: bot.id, agentId: agent.id };
const trigger = given(await api.POST("/api/v1/orgs/{org}/triggers", { params: { path }, body }));
const status = given(await api.GET("/api/v1/orgs/{org}/integrations/{id}/status", { params: { path: { ...path, id: bot.id } } }));
if (status.state !== "connected") throw new Error(`the bot is ${JSON.stringify(status)}`);
const all = given(await api.GET("/api/v1/orgs/{org}/triggers", { params: { path } }));
if (!all.items.some((it) => it.id === trigger.id)) throw new Error("the trigger is not listed");
await api.DELETE("/api/v1/orgs/{org}/triggers/{id}", { params: { path: { ...path, id: trigger.id } } });
await api.DELETE("/api/v1/orgs/{org}/integrations/{id}", { params: { path: { ...path, id: bot.id } } });
const gone = await api.GET("/api/v1/orgs/{org}/triggers/{id}", { params: { path: { ...path, id: trigger.id } } });
if (gone.response.status !== 404) throw new Error(`a deleted trigger answers ${gone.response.status}`);
await api.DELETE("/api/v1/orgs/{org}/agents/{id}", { params: { path: { ...path, id: agent.id } } });
console.log("TypeScript client: ok");
