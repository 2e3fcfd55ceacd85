// Puts the session's key, and the channel it is on, into the environment of every command that the agent's exec tool
// starts. spool-put and spool-run read them there; nothing else is read, kept or sent.

import { definePluginEntry } from "openclaw/plugin-sdk/plugin-entry";

/** The environment for one exec call, from the hook's event and context. */
export function execEnv(event, context) {
  const env = {};
  const session = event?.sessionKey ?? context?.sessionKey;
  if (typeof session === "string" && session !== "") env.SPOOL_SESSION = session;
  const channel = context?.messageProvider;
  if (typeof channel === "string" && channel !== "") env.SPOOL_CHANNEL = channel;
  return env;
}

export default definePluginEntry({
  id: "openclaw-spool",
  name: "Completion outbox",
  description: "Tells background jobs which session started them, so that their completion finds the way back",
  register(api) {
    api.on("resolve_exec_env", (event, context) => execEnv(event, context));
  },
});
