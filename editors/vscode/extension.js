// Starts `recoverdsl lsp` and communicates with it over standard input and output.

const { commands, window, workspace } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

/** @type {LanguageClient | undefined} */
let client;

async function start() {
  await stop();
  if (!workspace.isTrusted) {
    return;
  }
  const command = workspace.getConfiguration("recoverdsl").get("path") || "recoverdsl";
  // Without a `transport` the client adds no argument of its own.
  const server = { command, args: ["lsp"] };
  client = new LanguageClient("recoverdsl", "recoverdsl", server, {
    documentSelector: [{ scheme: "file", language: "recoverdsl" }],
  });
  try {
    await client.start();
  } catch (error) {
    client = undefined;
    window.showErrorMessage(
      `recoverdsl: \`${command} lsp\` does not start (${error.message ?? error}). ` +
        "Install recoverdsl, or set recoverdsl.path to its full path."
    );
  }
}

async function stop() {
  const running = client;
  client = undefined;
  await running?.stop();
}

async function activate(context) {
  context.subscriptions.push(
    commands.registerCommand("recoverdsl.restart", start),
    workspace.onDidGrantWorkspaceTrust(start),
    workspace.onDidChangeConfiguration((change) => {
      if (change.affectsConfiguration("recoverdsl.path")) {
        start();
      }
    })
  );
  await start();
}

module.exports = { activate, deactivate: stop };
