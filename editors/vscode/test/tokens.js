// Prints the tokens that VS Code's own engine finds in the files named: one JSON line for each file,
// a list of [scope, start, end]. Needs `npm install`; `make editors` compares it with the Pygments lexer.

const fs = require("fs");
const path = require("path");
const oniguruma = require("vscode-oniguruma");
const textmate = require("vscode-textmate");

const GRAMMAR = path.join(__dirname, "..", "syntaxes", "recoverdsl.tmLanguage.json");

async function load() {
  const wasm = fs.readFileSync(require.resolve("vscode-oniguruma/release/onig.wasm"));
  await oniguruma.loadWASM(wasm.buffer.slice(wasm.byteOffset, wasm.byteOffset + wasm.length));
  const registry = new textmate.Registry({
    onigLib: Promise.resolve({
      createOnigScanner: (patterns) => new oniguruma.OnigScanner(patterns),
      createOnigString: (text) => new oniguruma.OnigString(text),
    }),
    loadGrammar: async () => textmate.parseRawGrammar(fs.readFileSync(GRAMMAR, "utf8"), GRAMMAR),
  });
  return registry.loadGrammar("source.recoverdsl");
}

function stretches(grammar, text) {
  const found = [];
  let offset = 0;
  let state = textmate.INITIAL;
  for (const line of text.split("\n")) {
    const { tokens, ruleStack } = grammar.tokenizeLine(line, state);
    state = ruleStack;
    for (const { scopes, startIndex, endIndex } of tokens) {
      if (scopes.length > 1 && startIndex < line.length) {
        found.push([scopes.at(-1), offset + startIndex, offset + Math.min(endIndex, line.length)]);
      }
    }
    offset += line.length + 1;
  }
  return found;
}

load().then((grammar) => {
  for (const file of process.argv.slice(2)) {
    console.log(JSON.stringify(stretches(grammar, fs.readFileSync(file, "utf8"))));
  }
});
