// The provider `badge` for Parse Server; badge.py is the same for Pestle.
'use strict';

module.exports = {
  validateAppId: () => Promise.resolve(),
  validateAuthData: async authData => {
    if (authData.pin !== '1234') {
      throw new Parse.Error(Parse.Error.OBJECT_NOT_FOUND, 'Wrong pin.');
    }
  },
};
