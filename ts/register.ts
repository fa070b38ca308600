/**
 * `node --import llama-deltastore/register app.js`: attaches to every Llama instance, with the policy that DELTASTORE_POLICY names
 * (a file or a tier; the tier "high" without it). The app's code stays as it is.
 */
// node-llama-cpp tries its binary in a child process, which gets our --import too. If its modules were loaded from here, they would be
// in an order that it doesn't survive there (a cycle of imports).
if (process.env["TEST_BINDING_CP"] !== "true") await import("./store/attach-everywhere.js");
