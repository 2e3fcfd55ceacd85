// written by `spool adapt opencode`: reports to the session in SPOOL_SESSION that opencode has answered.
import { spawn } from "node:child_process"

const COMMAND = __COMMAND__
const PATIENCE_MS = 5000

/** Resolves when the report is written, or after a while: opencode is never held up for long. */
function report(payload) {
  return new Promise((resolve) => {
    const child = spawn(COMMAND[0], COMMAND.slice(1), { stdio: ["pipe", "ignore", "inherit"] })
    const timer = setTimeout(resolve, PATIENCE_MS)
    const done = () => {
      clearTimeout(timer)
      resolve()
    }
    child.on("error", done)
    child.on("exit", done)
    child.stdin.on("error", () => {})
    child.stdin.end(JSON.stringify(payload))
  })
}

export const Spool = async ({ client, directory }) => {
  /** Sessions that were reported as failed and will be idle next. */
  const failed = new Set()
  /** A session that another session started ends with that one. */
  const isChild = async (id) => {
    try {
      return Boolean((await client.session.get({ path: { id } })).data?.parentID)
    } catch {
      return false
    }
  }
  /** The last message of the session's agent. */
  const lastMessage = async (id) => {
    try {
      const messages = (await client.session.messages({ path: { id } })).data ?? []
      const last = messages.filter((message) => message.info.role === "assistant").at(-1)
      const texts = (last?.parts ?? []).filter((part) => part.type === "text").map((part) => part.text)
      return { id: last?.info.id, text: texts.join("\n") }
    } catch {
      return {}
    }
  }
  return {
    event: async ({ event }) => {
      const isError = event.type === "session.error"
      if (event.type !== "session.idle" && !isError) return
      const id = event.properties?.sessionID
      if (!id || (await isChild(id))) return
      if (isError) failed.add(id)
      else if (failed.delete(id)) return
      const last = await lastMessage(id)
      const text = isError ? undefined : last.text
      await report({ type: event.type, properties: event.properties, directory, messageID: last.id, text })
    },
    "shell.env": async (_input, output) => {
      if (process.env.SPOOL_SESSION) output.env.SPOOL_SESSION = process.env.SPOOL_SESSION
    },
  }
}
