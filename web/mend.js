// The web app hands out authorizeURL without its object (tinode-webapp 0.25.3, wherever it shows the
// picture of a person or a group), and so asks for these pictures without saying who asks: no server that
// guards its files can answer. Here the function keeps its object.
(() => {
  const { prototype } = tinode.Tinode;
  const { authorizeURL } = prototype;
  Object.defineProperty(prototype, 'authorizeURL', {
    configurable: true,
    get() {
      return authorizeURL.bind(this);
    },
  });
})();
