// Sign in with the vendor's own SDK, twice with the same proof, and print what it made of the answers.
import descope from "@descope/node-sdk";

const [baseUrl, projectId] = process.argv.slice(2);
const sdk = descope({ projectId, baseUrl });

const signIn = async (body) => {
  const answer = await fetch(`${baseUrl}/stand-in/sign-in`, { method: "POST", body: JSON.stringify(body) });
  return answer.json();
};

const started = await sdk.oauth.startNative("apple", undefined, false);
const proof = await signIn({
  stateId: started.data.stateId,
  user: { email: "grace@example.com", name: "Grace Hopper", roleNames: ["admiral"] },
});
const arguments_ = ["apple", proof.stateId, proof.user, proof.code, proof.idToken];
const finished = await sdk.oauth.finishNative(...arguments_);
const again = await sdk.oauth.finishNative(...arguments_);
const stranger = descope({ projectId: "P2somebodyElse00000000000000", baseUrl });
const refused = await stranger.oauth.startNative("apple");
const session = await sdk.validateJwt(finished.data.sessionJwt);

console.log(JSON.stringify({ started, finished, again, refused, session }));
