// The OpenID provider of the tests: clients get JSON Web Tokens for the registry, and its keys are replaced on demand.
//
//   node provider.mjs PORT
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import Provider from 'oidc-provider';

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const kinds = { ES256: ['ec', { namedCurve: 'P-256' }], RS256: ['rsa', { modulusLength: 2048 }], EdDSA: ['ed25519', {}] };

function keys() {
  return Object.entries(kinds).map(([alg, [type, options]]) => {
    const jwk = generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' });
    return { ...jwk, alg, use: 'sig', kid: randomUUID() };
  });
}

function provider(jwks) {
  return new Provider(issuer, {
    clients: [{
      client_id: 'trainer',
      client_secret: 'a secret of the tests',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      token_endpoint_auth_method: 'client_secret_post',
    }],
    enabledJWA: { clientAuthSigningAlgValues: ['ES256'], idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'] },
    extraTokenClaims: () => ({ groups: ['ml', 'release'], acr: 'aal2', amr: ['hwk'] }),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        // urn:AUDIENCE:ALGORITHM
        getResourceServerInfo: (_, resource) => {
          const [, audience, alg] = resource.split(':');
          return { scope: '', audience, accessTokenFormat: 'jwt', accessTokenTTL: 300, jwt: { sign: { alg } } };
        },
      },
    },
    jwks: { keys: jwks },
  });
}

let known = keys();
let answer = provider(known).callback();

createServer((request, response) => {
  if (request.method === 'POST' && request.url === '/rotate') {
    // The first of a kind signs; what the one before it signed goes on counting.
    known = [...keys(), ...known.slice(0, 3)];
    answer = provider(known).callback();
    response.end();
  } else {
    answer(request, response);
  }
}).listen(port, '127.0.0.1');
