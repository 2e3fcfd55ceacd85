// Names the conversation to every command that the agent's exec tool starts: spool-run and spool-put read SPOOL_SESSION
// and SPOOL_ROUTE there. Nothing else is read, kept or sent.

/** The environment for one exec call, from the hook's event and context. */
export function execEnv(event, context) {
  const session = event?.sessionKey ?? context?.sessionKey;
  if (typeof session !== "string" || session === "") return {};
  const route = routeOf(session, context?.messageProvider, context?.channelId);
  return { SPOOL_SESSION: session, ...(route && { SPOOL_ROUTE: JSON.stringify(route) }) };
}

/**
 * Who asked, where several people share the session (as all direct messages do by default): the gateway would answer
 * whoever wrote last. A session that names its own chat needs no route, and an address that does not name its channel
 * ("telegram:77031") may be of another form than the gateway takes: then there is none.
 */
function routeOf(session, channel, to) {
  if (typeof channel !== "string" || typeof to !== "string" || !to.startsWith(`${channel}:`)) return undefined;
  const chat = to.slice(channel.length + 1);
  return chat === "" || session.includes(chat) ? undefined : { channel, to };
}

export default {
  id: "openclaw-spool",
  name: "Completion outbox",
  description: "Tells background jobs which session started them, so that their completion finds the way back",
  register(api) {
    api.on("resolve_exec_env", execEnv);
  },
};
