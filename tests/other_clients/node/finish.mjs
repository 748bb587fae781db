// Sign in with the vendor's own SDK, twice with the same proof, then refresh and log out; print its answers.
import descope from "@descope/node-sdk";

const [baseUrl, projectId] = process.argv.slice(2);
const sdk = descope({ projectId, baseUrl });

const phone = async (started, more) => {
  const answer = await fetch(`${baseUrl}/stand-in/phone`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...started, ...more }),
  });
  return answer.json();
};
const finish = ({ provider, stateId, user, code, idToken }) =>
  sdk.oauth.finishNative(provider, stateId, user, code, idToken);

const user = { email: "grace@example.com", name: "Grace Hopper", roleNames: ["admiral"] };
const started = await sdk.oauth.startNative("apple", { locale: "de" }, false);
const proof = await phone(started.data, { user });
const finished = await finish(proof);
const again = await finish(proof);
const session = await sdk.validateJwt(finished.data.sessionJwt);

const implicit = await sdk.oauth.startNative("apple", undefined, true);
const withIdToken = await finish(await phone(implicit.data, { user }));
const google = await sdk.oauth.startNative("google");
const hashed = await finish(await phone(google.data, { user, hashNonce: true }));

const stranger = descope({ projectId: "P2somebodyElse00000000000000", baseUrl });
const refused = await stranger.oauth.startNative("apple");

const refreshed = await sdk.refreshSession(finished.data.refreshJwt);
const me = await sdk.me(finished.data.refreshJwt);
const loggedOut = await sdk.logout(finished.data.refreshJwt);
const tooLate = await sdk.refresh(finished.data.refreshJwt);

const signIns = { started, finished, again, session, withIdToken, hashed, refused };
console.log(JSON.stringify({ ...signIns, refreshed, me, loggedOut, tooLate }));
