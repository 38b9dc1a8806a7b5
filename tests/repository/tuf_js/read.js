// Reads an index with tuf-js, as somebody else's program would.
//
//   node read.js URL METADATA TARGETS PATH...
//
// METADATA holds the root to start from, as root.json. Prints one JSON line: what was downloaded
// for each target path (where it lies, or null if it is not listed), or the error that stopped it.

const { Updater } = require("tuf-js");

async function main([url, metadataDir, targetDir, ...paths]) {
  const updater = new Updater({
    metadataDir,
    metadataBaseUrl: url + "metadata",
    targetDir,
    targetBaseUrl: url.slice(0, -1),
    config: { fetchRetry: 0, fetchTimeout: 20000 },
  });
  await updater.refresh();
  const files = {};
  for (const path of paths) {
    const info = await updater.getTargetInfo(path);
    files[path] = info ? await updater.downloadTarget(info) : null;
  }
  return { files };
}

main(process.argv.slice(2))
  .catch((error) => ({ error: error.constructor.name, message: String(error.message) }))
  .then((answer) => console.log(JSON.stringify(answer)));
